"""A ledger that is older than the feed is in it once, as it stands; the way back leaves the ledger alone."""

from __future__ import annotations

from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from store.database import engine_url
from store.migrate import _config

MESSAGE = """
    INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority,
      at, status, decided_at, settled_at, attempts)
    VALUES (:key, 'r', 1, 'u', 'u', 'j', 's', 1, 'a', 't', '[]', 'lifecycle', now(), :status, now(), :settled, :n)
"""
EVENT = """
    INSERT INTO events (source, message_id, kind, name, subject_key, at, received_at, data)
    VALUES ('s', 'e', 'track', 'x', 'u', now(), now(), '{}')
"""


@pytest.fixture
async def engine(empty_database_url: str) -> Any:
    made = create_async_engine(engine_url(empty_database_url))
    yield made
    await made.dispose()


async def _at(engine: Any, revision: str, *, down: bool = False) -> None:
    def go(connection: Connection) -> None:
        config = _config()
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)

    async with engine.begin() as connection:
        await connection.run_sync(go)


async def _rows(engine: Any, statement: str) -> list[Any]:
    async with engine.begin() as connection:
        return [tuple(row) for row in await connection.execute(text(statement))]


async def test_an_older_ledger_is_in_the_feed_and_the_way_back_keeps_it(engine: Any) -> None:
    await _at(engine, "0010")
    async with engine.begin() as connection:
        for n, status in enumerate(("withheld", "deferred", "sent")):
            await connection.execute(text(MESSAGE), {"key": f"old{n}", "n": n, "status": status, "settled": None})
        await connection.execute(text(EVENT))
    await _at(engine, "0011")
    told = "SELECT f.status, f.decided, f.attempt, f.at = m.decided_at FROM feed f JOIN messages m ON m.id = f.message ORDER BY f.id"
    assert await _rows(engine, told) == [
        ("withheld", True, 0, True),
        ("deferred", True, 1, True),
        ("sent", True, 2, True),
    ]
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE messages SET status = 'withdrawn' WHERE key = 'old1'"))
    assert (await _rows(engine, "SELECT was, status FROM feed ORDER BY id DESC LIMIT 1")) == [("deferred", "withdrawn")]
    await _at(engine, "0010", down=True)
    assert await _rows(engine, "SELECT count(*) FROM messages") == [(3,)]
    await _rows(engine, "UPDATE messages SET status = 'sent' WHERE key = 'old1' RETURNING 1")
    await _at(engine, "0011")
    assert await _rows(engine, "SELECT count(*), max(status) FROM feed") == [(3, "withheld")]
