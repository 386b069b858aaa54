"""Retry of a transaction that lost a race (deadlock, serialization, `Contended`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from store.database import Connection, Database
from store.errors import Contended

T = TypeVar("T")

ATTEMPTS = 5
PAUSE = 0.01
"""Seconds before the second attempt; the pause grows with each attempt."""
LOST = (Contended, asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


async def retry_transaction(database: Database, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Run `work` in one transaction; retry it if it loses a race. Raises what the last attempt raised."""
    for attempt in range(1, ATTEMPTS):
        try:
            async with database.transaction() as connection:
                return await work(connection)
        except LOST:
            await asyncio.sleep(PAUSE * attempt)
    async with database.transaction() as connection:
        return await work(connection)
