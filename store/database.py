"""One engine per process, one transaction per request or step. The only place that knows how we connect."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import orjson
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

Connection = AsyncConnection


def engine_url(url: str) -> str:
    """The URL with the asyncpg driver named, whatever way it was written."""
    for prefix in ("postgresql+asyncpg://", "postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+asyncpg://" + url[len(prefix) :]
    raise ValueError("a database URL starts with postgresql://")


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


class Database:
    """A pool of connections to one PostgreSQL."""

    def __init__(self, url: str, *, pool: int = 10) -> None:
        self.url = url
        self.engine: AsyncEngine = create_async_engine(
            engine_url(url),
            pool_size=pool,
            max_overflow=pool,
            json_serializer=_dumps,
            json_deserializer=orjson.loads,
            pool_pre_ping=False,
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One transaction: committed at the end, rolled back on any exception."""
        async with self.engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """A connection for reads, each statement its own snapshot; nothing is committed."""
        async with self.engine.connect() as connection:
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")

    async def close(self) -> None:
        """Return every connection."""
        await self.engine.dispose()


def sql(statement: str) -> TextClause:
    """A statement with named parameters, written once at module level so that its parsing is cached."""
    return text(statement)


async def rows(connection: Connection, statement: TextClause, /, **values: Any) -> list[Mapping[str, Any]]:
    """All rows as mappings."""
    return cast("list[Mapping[str, Any]]", (await connection.execute(statement, values)).mappings().all())


async def row(connection: Connection, statement: TextClause, /, **values: Any) -> Mapping[str, Any] | None:
    """The first row as a mapping, or None."""
    return cast("Mapping[str, Any] | None", (await connection.execute(statement, values)).mappings().first())


async def run(connection: Connection, statement: TextClause, /, **values: Any) -> int:
    """Execute; the number of rows touched."""
    return int((await connection.execute(statement, values)).rowcount)


def as_json(value: Any) -> str:
    """A JSON text for a `CAST(:x AS jsonb)` parameter."""
    return _dumps(value)
