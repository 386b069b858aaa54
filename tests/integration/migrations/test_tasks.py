"""Tasks that were there before they could be shared keep the run that asked for them, and the way back loses no task."""

from __future__ import annotations

import asyncpg
from alembic import command
from sqlalchemy import Connection, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from store.database import engine_url
from store.migrate import _config


async def revise(url: str, to: str, *, back: bool = False) -> None:
    def work(connection: Connection) -> None:
        config = _config()
        config.attributes["connection"] = connection
        (command.downgrade if back else command.upgrade)(config, to)

    engine = create_async_engine(engine_url(url))
    async with engine.begin() as connection:
        await connection.run_sync(work)
    await engine.dispose()


async def connected(url: str) -> asyncpg.Connection:
    parts = make_url(url)
    return await asyncpg.connect(user=parts.username, host=parts.query["host"], database=parts.database)


async def test_a_task_from_before_is_still_asked_for_by_its_run_there_and_back(empty_database_url: str) -> None:
    await revise(empty_database_url, "0008")
    db = await connected(empty_database_url)
    for status in ("open", "closed"):
        await db.execute(
            """INSERT INTO tasks (key, run, subject_key, journey, action, task, owner, opened_at, status)
               VALUES ($1, 'r', 'u', 'j', 'call', 'call', 'dana', now(), $1)""",
            status,
        )
    await db.close()
    await revise(empty_database_url, "0009")
    db = await connected(empty_database_url)
    asks = await db.fetch("SELECT a.key, a.run, a.action, a.status, t.named, t.reason FROM task_asks a JOIN tasks t ON t.id = a.task_id ORDER BY 1")  # fmt: skip
    assert [tuple(row) for row in asks] == [
        ("closed", "r", "call", "closed", "dana", "call"),
        ("open", "r", "call", "open", "dana", "call"),
    ]
    await db.close()
    await revise(empty_database_url, "0008", back=True)
    await revise(empty_database_url, "0009")
    db = await connected(empty_database_url)
    assert await db.fetchval("SELECT count(*) FROM task_asks") == 2
    await db.close()
