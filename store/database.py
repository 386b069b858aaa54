"""The pool of connections, transactions, and statements with named parameters.

Statements are built with SQLAlchemy Core and executed by asyncpg itself: a step is a dozen short statements, and an engine
between them would cost more than they do.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from typing import Any, Protocol

import asyncpg
import orjson
from sqlalchemy import Executable

from store.compiler import compile_statement

_NAMED = re.compile(r"(?<![:\w]):([a-z_]+)")
POOL_SECONDS = 30.0
"""How long a caller waits for a free connection."""
STATEMENTS = 256
"""Prepared statements that a connection keeps: more than there are."""


class Connection(Protocol):
    """A connection of asyncpg, as far as it is used here."""

    async def fetch(self, query: str, *args: Any) -> list[Mapping[str, Any]]: ...
    async def fetchrow(self, query: str, *args: Any) -> Mapping[str, Any] | None: ...
    async def execute(self, query: str, *args: Any) -> str: ...
    def transaction(self) -> AbstractAsyncContextManager[Any]: ...


class SqlStatement:
    """SQL with numbered parameters, and the names they had; made when it is first executed."""

    def __init__(self, source: str | Executable) -> None:
        self._source = source

    @cached_property
    def text(self) -> str:
        return self._compiled[0]

    @cached_property
    def names(self) -> tuple[str, ...]:
        return self._compiled[1]

    @cached_property
    def _compiled(self) -> tuple[str, tuple[str, ...]]:
        return _numbered(self._source) if isinstance(self._source, str) else compile_statement(self._source)

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        return [values[name] for name in self.names]


def plain_url(url: str) -> str:
    """The URL as libpq and asyncpg read it, whatever way it was written. Raises ValueError."""
    for prefix in ("postgresql+asyncpg://", "postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql://" + url[len(prefix) :]
    raise ValueError("a database URL starts with postgresql://")


def engine_url(url: str) -> str:
    """The URL for SQLAlchemy, which only migrations use."""
    return plain_url(url).replace("postgresql://", "postgresql+asyncpg://", 1)


class Database:
    """A pool of connections to one PostgreSQL: `pool` of them, twice as many under load; opened when first needed.

    `options` go to every new connection: `timeout`, `server_settings`.
    """

    def __init__(self, url: str, *, pool: int = 10) -> None:
        self.url = url
        self.options: dict[str, Any] = {}
        self._size = 2 * pool
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One transaction: committed at the end, rolled back on any exception."""
        pool = self._pool or await self._open()
        async with pool.acquire(timeout=POOL_SECONDS) as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """A connection without a transaction: each statement is its own snapshot, and commits itself."""
        pool = self._pool or await self._open()
        async with pool.acquire(timeout=POOL_SECONDS) as connection:
            yield connection

    async def close(self) -> None:
        """Return every connection."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    async def _open(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    plain_url(self.url),
                    min_size=0,
                    max_size=self._size,
                    statement_cache_size=STATEMENTS,
                    max_cached_statement_lifetime=0,
                    max_inactive_connection_lifetime=0,
                    reset=_nothing,
                    **self.options,
                )
            return self._pool


async def _nothing(_: Any) -> None:
    """Nobody here changes a session's settings; the driver's own reset would be one more round trip a transaction."""


def sql(statement: str | Executable) -> SqlStatement:
    """A statement of SQLAlchemy Core, written once at module level; or text, where Core cannot say it well.

    Parameters are named: `bindparam("key")` in Core, where they have their column's type; `:key` in a text, where
    PostgreSQL infers it. A JSON parameter is a text (`as_json`).
    """
    return SqlStatement(statement)


def _numbered(text: str) -> tuple[str, tuple[str, ...]]:
    names = tuple(dict.fromkeys(_NAMED.findall(text)))
    numbers = {name: f"${number}" for number, name in enumerate(names, 1)}
    return _NAMED.sub(lambda name: numbers[name[1]], text), names


async def fetch_all(connection: Connection, statement: SqlStatement, /, **values: Any) -> list[Mapping[str, Any]]:
    """All rows as mappings."""
    return await connection.fetch(statement.text, *statement.arguments(values))


async def fetch_one(connection: Connection, statement: SqlStatement, /, **values: Any) -> Mapping[str, Any] | None:
    """The first row as a mapping, or None."""
    return await connection.fetchrow(statement.text, *statement.arguments(values))


async def execute(connection: Connection, statement: SqlStatement, /, **values: Any) -> int:
    """Execute; the number of rows touched."""
    done = await connection.execute(statement.text, *statement.arguments(values))
    return int(done.rpartition(" ")[2])


def as_json(value: Any) -> str:
    """A JSON text, for a parameter of type jsonb."""
    return orjson.dumps(value).decode()
