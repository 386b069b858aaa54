"""The consent migration goes back and forth, and keeps what was said before it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

import store
from store.database import engine_url

MIGRATIONS = Path(store.__file__).parent / "migrations"
SAID = "INSERT INTO consent_log (subject_key, channel, topic, granted, source, at) VALUES ('u', 'email', '*', {}, 's', now())"


async def test_what_was_said_survives_the_way_up_down_and_up_again(empty_database_url: str) -> None:
    engine = create_async_engine(engine_url(empty_database_url))

    async def do(work: Callable[[Connection], Any]) -> Any:
        async with engine.begin() as connection:
            return await connection.run_sync(work)

    def moved(way: Callable[[Config, str], None], revision: str) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS))
            config.attributes["connection"] = connection
            way(config, revision)

        return work

    count = text("SELECT count(*) FROM consent_log")
    await do(moved(command.upgrade, "0006"))
    await do(lambda connection: connection.execute(text(SAID.format("false"))))
    await do(moved(command.upgrade, "0007"))
    await do(lambda connection: connection.execute(text(SAID.format("NULL"))))
    await do(moved(command.downgrade, "0006"))
    assert await do(lambda connection: connection.scalar(count)) == 1, "what has no place in the old log is given up"
    await do(moved(command.upgrade, "0007"))
    assert await do(lambda connection: connection.scalar(count)) == 1
    await engine.dispose()
