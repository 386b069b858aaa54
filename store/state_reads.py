"""Where a run is, asked thousands of times a second: with connections of its own, so that reads never wait behind commits."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from store.database import Database, plain_url
from store.queries import RUN_COLUMNS, Row

_RUN = f"SELECT {RUN_COLUMNS} WHERE r.id = $1"


async def _nothing(_: Any) -> None:
    """A read leaves nothing behind, and the driver's own reset is a second round trip."""


class StateReads:
    """A few connections of its own, made on first use."""

    def __init__(self, database: Database, *, seconds: float, connections: int = 4) -> None:
        self._url = plain_url(database.url)
        self._seconds = seconds
        self._connections = connections
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def run(self, identity: str) -> Row | None:
        """One run as it was after its last step; None if there is none. Raises what the driver raises."""
        if "\x00" in identity:
            return None
        pool = self._pool or await self._open()
        found = await pool.fetchrow(_RUN, identity)
        return dict(found) if found is not None else None

    async def _open(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                settings: dict[str, Any] = {
                    "statement_timeout": str(int(self._seconds * 1000)),
                    "application_name": "tenure-api-reads",
                }
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=1,
                    max_size=self._connections,
                    timeout=min(3.0, self._seconds),
                    server_settings=settings,
                    reset=_nothing,
                )
            return self._pool

    async def close(self) -> None:
        """Return every connection."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None
