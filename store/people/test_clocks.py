"""Test clocks of subjects, and the current instant by them in Python and SQL.

The store has three nows, each with its own name:

| name | instant | used for |
|---|---|---|
| `received_at` | real, read once when a batch arrives | rows of events; the latest instant accepted from a sender |
| `now_for`, `now_by_clock` | by the subject's clock, read under the subject's lock | consents, holds, tasks, messages |
| `clock_timestamp()` | real, the database's | leases, rests and instants that several processes compare |
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Interval, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert

from journeys.calendar.test_clock import TestClock
from store.database import Connection, execute, fetch_one, sql
from store.schema import clocks

_GET = sql(select(clocks).where(clocks.c.id == bindparam("id")))
_new = insert(clocks).values(
    id=bindparam("id"), origin=bindparam("origin"), speed=bindparam("speed"), limit_at=bindparam("limit")
)
_PUT = sql(_new.on_conflict_do_update(index_elements=[clocks.c.id], set_={"limit_at": _new.excluded.limit_at}))


def now_by_clock(real: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """`TestClock.virtual` for rows that are outer-joined with their `clocks`; without a clock the real instant."""
    passed = (real - clocks.c.started_at).op("*", precedence=8, return_type=Interval())(clocks.c.speed)
    return func.coalesce(func.least(clocks.c.limit_at, clocks.c.origin + passed), real)


async def read_clock(connection: Connection, clock: str) -> TestClock | None:
    """The clock of this id, with its limit as of now; None if there is none."""
    row = await fetch_one(connection, _GET, id=clock)
    if row is None:
        return None
    return TestClock(row["id"], row["origin"], row["started_at"], row["speed"], row["limit_at"])


async def now_for(connection: Connection, clock: str | None) -> datetime:
    """The current instant: the test clock's for subjects on one, else the real one."""
    real = datetime.now(UTC)
    if clock is None:
        return real
    test_clock = await read_clock(connection, clock)
    return test_clock.virtual(real) if test_clock else real


async def set_clock(connection: Connection, clock: str, origin: datetime, speed: float, limit: datetime) -> None:
    """Create a clock, or move the limit of a running one: origin and speed of a running clock never change."""
    await execute(connection, _PUT, id=clock, origin=origin, speed=speed, limit=limit)
