"""The pool of connections, transactions, and statements with named parameters.

Statements are built with SQLAlchemy Core and executed by asyncpg directly: a step runs a dozen short statements, and an
engine in between would cost more than they do.
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

from store.availability import AVAILABILITY
from store.compiler import compile_statement

_NAMED = re.compile(r"(?<![:\w]):([a-z_]+)")
POOL_SECONDS = 30.0
"""Longest wait of a caller for a free connection."""
STATEMENTS = 256
"""Prepared statements that a connection caches; the store has fewer."""


class Connection(Protocol):
    """The part of asyncpg's connection that the store uses."""

    async def fetch(self, query: str, *args: Any) -> list[Mapping[str, Any]]: ...
    async def fetchrow(self, query: str, *args: Any) -> Mapping[str, Any] | None: ...
    async def execute(self, query: str, *args: Any) -> str: ...
    def transaction(self) -> AbstractAsyncContextManager[Any]: ...


class SqlStatement:
    """SQL with numbered parameters, and their names; compiled on first use."""

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
    """The URL as libpq and asyncpg accept it. Raises ValueError."""
    for prefix in ("postgresql+asyncpg://", "postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql://" + url[len(prefix) :]
    raise ValueError("the database URL must start with postgresql://")


def engine_url(url: str) -> str:
    """The URL for SQLAlchemy, which only migrations use."""
    return plain_url(url).replace("postgresql://", "postgresql+asyncpg://", 1)


class DatabaseClosedError(RuntimeError):
    """A database was used after `close`."""


class Database:
    """A pool of at most `2 * pool` connections to one PostgreSQL, opened on first use.

    `options` apply to every new connection: `timeout`, `server_settings`, `init`.
    """

    def __init__(self, url: str, *, pool: int = 10) -> None:
        self.url = url
        self.options: dict[str, Any] = {}
        self._size = 2 * pool
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One transaction: committed at the end, rolled back on any exception."""
        async with self._connection() as connection:
            with AVAILABILITY.watched():
                async with connection.transaction():
                    yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """A connection without a transaction: each statement has its own snapshot and its own commit."""
        async with self._connection() as connection:
            with AVAILABILITY.watched():
                yield connection

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """A connection of the pool."""
        pool = self._pool or await self._open()
        acquiring = pool.acquire(timeout=POOL_SECONDS)
        try:
            connection = await acquiring.__aenter__()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            AVAILABILITY.failed(error)
            raise
        try:
            yield connection
        finally:
            await acquiring.__aexit__(None, None, None)

    async def close(self) -> None:
        """Close every connection. What uses the database later fails: nobody would close what it opens."""
        async with self._opening:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def _open(self) -> asyncpg.Pool:
        async with self._opening:
            if self._closed:
                raise DatabaseClosedError("the database was closed; make another")
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    plain_url(self.url),
                    min_size=0,
                    max_size=self._size,
                    statement_cache_size=STATEMENTS,
                    max_cached_statement_lifetime=0,
                    max_inactive_connection_lifetime=0,
                    reset=_no_reset,
                    **self.options,
                )
            return self._pool


async def _no_reset(_: Any) -> None:
    """Replace asyncpg's reset: no session setting is changed, and a reset costs one round trip a transaction."""


def sql(statement: str | Executable) -> SqlStatement:
    """A statement of SQLAlchemy Core, or text where Core cannot express it well; made once at module level.

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
    """Execute a statement; the number of rows affected."""
    status = await connection.execute(statement.text, *statement.arguments(values))
    return int(status.rpartition(" ")[2])


def as_json(value: Any) -> str:
    """JSON text, for a parameter of type jsonb."""
    return orjson.dumps(value).decode()
