"""Databases of one PostgreSQL server: a migrated template, and a clone of it for each test."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import fasteners
from sqlalchemy import make_url

from store.migrate import migrate
from worker.stack.postgres import PostgresServer

TEMPLATE = "tenure_template"


@dataclass(frozen=True)
class Databases:
    """Makes and drops databases over one connection, so that a test pays for none of its own."""

    postgres: str
    """URL of the server's maintenance database."""
    maintenance: asyncpg.Connection

    @asynccontextmanager
    async def migrated(self) -> AsyncIterator[str]:
        """A database with today's schema, for as long as the body runs."""
        # Copied as files: through the write-ahead log, the default, a clone costs four times the CPU.
        async with self._fresh(f' TEMPLATE "{TEMPLATE}" STRATEGY FILE_COPY') as url:
            yield url

    @asynccontextmanager
    async def empty(self) -> AsyncIterator[str]:
        """A database without any table: for migrations."""
        async with self._fresh("") as url:
            yield url

    @asynccontextmanager
    async def _fresh(self, options: str) -> AsyncIterator[str]:
        name = f"test_{uuid.uuid4().hex[:12]}"
        await self.maintenance.execute(f'CREATE DATABASE "{name}"{options}')
        yield _url(self.postgres, name)
        await self.maintenance.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@asynccontextmanager
async def databases_on(postgres: str, folder: Path) -> AsyncIterator[Databases]:
    """The databases of a server, for as long as the body runs. `folder` is of all processes that share the server."""
    url = make_url(postgres)
    connection = await asyncpg.connect(user=url.username, host=url.query["host"], database=url.database)
    methods = await connection.fetchval("SELECT enumvals FROM pg_settings WHERE name = 'file_copy_method'")
    if "clone" in (methods or ()):  # the kernel copies, and where the file system can it copies nothing
        await connection.execute("SET file_copy_method = clone")
    with fasteners.InterProcessLock(folder / "template.lock"):
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", TEMPLATE):
            # Renamed when it is whole: a process that died while migrating leaves no template behind.
            await connection.execute(f'CREATE DATABASE "{TEMPLATE}_draft"')
            await migrate(_url(postgres, f"{TEMPLATE}_draft"))
            await connection.execute(f'ALTER DATABASE "{TEMPLATE}_draft" RENAME TO "{TEMPLATE}"')
    yield Databases(postgres, connection)
    await connection.close()


@asynccontextmanager
async def databases_of_own_server(folder: Path) -> AsyncIterator[Databases]:
    """Databases of a server that nobody else uses: there, no other test's transaction is the oldest one."""
    folder.mkdir()
    async with (
        PostgresServer(folder / "postgres", durable=False) as server,
        databases_on(server.url("postgres"), folder) as found,
    ):
        yield found


def _url(postgres: str, database: str) -> str:
    return make_url(postgres).set(database=database).render_as_string(hide_password=False)
