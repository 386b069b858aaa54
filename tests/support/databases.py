"""Databases of one PostgreSQL server: a migrated template, and a clone of it for each test, reset for the next one."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import fasteners
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, make_url
from sqlalchemy.ext.asyncio import create_async_engine

import store
from store.database import engine_url
from store.migrate import migrate
from tests.support.database_reset import CleanState, clean_state, end_sessions
from worker.stack.postgres import PostgresServer

TEMPLATE = "tenure_template"


@dataclass(frozen=True)
class Databases:
    """Creates and drops databases over one connection, so that a test needs none of its own for it."""

    postgres: str
    """URL of the server's maintenance database."""
    maintenance: asyncpg.Connection
    clean: dict[str, CleanState] = field(default_factory=dict)
    """Databases that are as new, by name."""

    @asynccontextmanager
    async def migrated(self) -> AsyncIterator[str]:
        """A database with the current schema and no rows but the schema's own, for as long as the body runs."""
        name, state = self.clean.popitem() if self.clean else await self._cloned()
        yield _url(self.postgres, name)
        await end_sessions(self.maintenance, name)
        if await self._restored(name, state):
            self.clean[name] = state
        else:
            await self._drop(name)

    @asynccontextmanager
    async def empty(self) -> AsyncIterator[str]:
        """A database without any table: for migrations."""
        name = await self._create("")
        yield _url(self.postgres, name)
        await self._drop(name)

    async def _cloned(self) -> tuple[str, CleanState]:
        # Copied as files: the default, a copy through the write-ahead log, takes twice the CPU.
        name = await self._create(f' TEMPLATE "{TEMPLATE}" STRATEGY FILE_COPY')
        async with _connection(_url(self.postgres, name)) as connection:
            return name, await clean_state(connection)

    async def _restored(self, name: str, state: CleanState) -> bool:
        try:
            async with _connection(_url(self.postgres, name)) as connection:
                return await state.restore(connection)
        except (asyncpg.PostgresError, asyncpg.InterfaceError):  # a test has broken it
            return False

    async def _create(self, options: str) -> str:
        name = f"test_{uuid.uuid4().hex[:12]}"
        await self.maintenance.execute(f'CREATE DATABASE "{name}"{options}')
        return name

    async def _drop(self, name: str) -> None:
        await self.maintenance.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@asynccontextmanager
async def databases_on(postgres: str, folder: Path) -> AsyncIterator[Databases]:
    """The databases of a server, for as long as the body runs. `folder` belongs to all processes that share the server."""
    async with _connection(postgres) as connection:
        await _prepare(connection, postgres, folder)
        yield Databases(postgres, connection)


async def _prepare(connection: asyncpg.Connection, postgres: str, folder: Path) -> None:
    """Make the template, unless another process has made it."""
    methods = await connection.fetchval("SELECT enumvals FROM pg_settings WHERE name = 'file_copy_method'")
    if "clone" in (methods or ()):  # copied by the kernel, or not at all if the file system can share blocks
        await connection.execute("SET file_copy_method = clone")
    with fasteners.InterProcessLock(folder / "template.lock"):
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", TEMPLATE):
            # Renamed when it is complete: a process that dies while migrating leaves no template.
            await connection.execute(f'CREATE DATABASE "{TEMPLATE}_draft"')
            await migrate(_url(postgres, f"{TEMPLATE}_draft"))
            await connection.execute(f'ALTER DATABASE "{TEMPLATE}_draft" RENAME TO "{TEMPLATE}"')


@asynccontextmanager
async def _connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    url = make_url(database_url)
    connection = await asyncpg.connect(
        user=url.username, password=url.password, host=url.query["host"], database=url.database
    )
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def databases_of_own_server(folder: Path) -> AsyncIterator[Databases]:
    """Databases of a server of their own, so that no other test's transaction is the oldest one."""
    folder.mkdir()
    async with (
        PostgresServer(folder / "postgres", durable=False) as server,
        databases_on(server.url("postgres"), folder) as databases,
    ):
        yield databases


async def migrate_to(url: str, revision: str) -> None:
    """Upgrade a database to a revision, for tests of single migrations."""
    engine = create_async_engine(engine_url(url))
    async with engine.begin() as connection:
        await connection.run_sync(_upgrade, revision)
    await engine.dispose()


def _upgrade(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", store.__path__[0] + "/migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _url(postgres: str, database: str) -> str:
    return make_url(postgres).set(database=database).render_as_string(hide_password=False)
