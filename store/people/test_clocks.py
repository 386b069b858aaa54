"""Test clocks: objects in the store to which subjects belong with all their runs, gate and deferred messages."""

from __future__ import annotations

from datetime import UTC, datetime

from journeys.calendar.test_clock import TestClock
from store.database import Connection, execute, fetch_one, sql

_GET = sql("SELECT id, origin, started_at, speed, limit_at, clock_timestamp() AS real FROM clocks WHERE id = :id")
_PUT = sql(
    """
    INSERT INTO clocks (id, origin, speed, limit_at) VALUES (:id, :origin, :speed, :limit)
    ON CONFLICT (id) DO UPDATE SET limit_at = excluded.limit_at
    """
)


async def read_clock(connection: Connection, clock: str) -> TestClock | None:
    """The clock of this id, with its limit as of now; None if there is none."""
    found = await fetch_one(connection, _GET, id=clock)
    if found is None:
        return None
    return TestClock(found["id"], found["origin"], found["started_at"], found["speed"], found["limit_at"])


async def now_for(connection: Connection, clock: str | None) -> datetime:
    """The only now of the store: the real one, or a test clock's for subjects that belong to one."""
    real = datetime.now(UTC)
    if clock is None:
        return real
    found = await read_clock(connection, clock)
    return found.virtual(real) if found else real


async def set_clock(connection: Connection, clock: str, origin: datetime, speed: float, limit: datetime) -> None:
    """Create a clock, or move the limit of one that runs: origin and speed of a running clock never change."""
    await execute(connection, _PUT, id=clock, origin=origin, speed=speed, limit=limit)
