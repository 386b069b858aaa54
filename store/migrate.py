"""Migration to the newest schema: `python -m store.migrate`.

Safe to run from many processes at once.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from store.database import engine_url
from store.locks import Lock


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _upgrade(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": int(Lock.MIGRATE)})
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def migrate(url: str) -> None:
    """Upgrade the database at `url`; waits for a migration of another process."""
    engine = create_async_engine(engine_url(url), hide_parameters=True)  # errors end up in logs
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def main() -> int:
    """Migrate the database of TENURE_DATABASE_URL; the exit code."""
    url = os.environ.get("TENURE_DATABASE_URL")
    if not url:
        sys.stderr.write(
            "TENURE_DATABASE_URL is not set: give the database to migrate, as postgresql://user@host/name\n"
        )
        return 2
    asyncio.run(migrate(url))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
