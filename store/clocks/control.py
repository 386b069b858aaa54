"""Creation, advance and movement of test clocks.

A clock never goes back. Its driver moves it under the clock's lock (record 0016).
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from store.database import Connection, execute, fetch_one, sql
from store.errors import ClockAdvancing
from store.outbox import queue as outbox
from store.people.test_clocks import CLOCK, ClockStatus, TestClock, clock_in
from store.schema import clocks

_of_id = clocks.c.id == bindparam("id")
_CREATE = sql(
    insert(clocks)
    .values(id=bindparam("id"), now=bindparam("now"), target=bindparam("now"))
    .on_conflict_do_nothing()
    .returning(*CLOCK)
)
_LOCK = sql(select(*CLOCK).where(_of_id).with_for_update())
_progress = {"progressed_at": func.clock_timestamp()}
_ADVANCE = sql(
    update(clocks)
    .where(_of_id)
    .values(target=bindparam("to"), status=ClockStatus.ADVANCING, **_progress)
    .returning(*CLOCK)
)
_MOVE = sql(
    update(clocks)
    .where(_of_id, clocks.c.now == bindparam("before"), clocks.c.target >= bindparam("to"))
    .values(now=bindparam("to"), **_progress)
)
_READY = sql(
    update(clocks)
    .where(_of_id, clocks.c.now == clocks.c.target, clocks.c.status != ClockStatus.READY)
    .values(status=ClockStatus.READY, error=None, **_progress)
)
_STUCK = sql(update(clocks).where(_of_id).values(status=bindparam("status"), error=bindparam("error"), **_progress))


class ClockExists(Exception):
    """A clock of this id shows another instant. The caller's turn: choose another id, or advance this one."""

    def __init__(self, clock: TestClock) -> None:
        super().__init__(f"the test clock {clock.id} exists and shows {clock.now.isoformat()}")


class NoSuchClock(Exception):
    """There is no clock of this id. The caller's turn: create it."""


class ClockGoesBack(Exception):
    """The instant is before the clock's now. The caller's turn: give a later one, or use another clock."""

    def __init__(self, clock: TestClock) -> None:
        super().__init__(f"the test clock {clock.id} shows {clock.now.isoformat()} and never goes back")


class ClockMoved(Exception):
    """Another process has moved the clock: this one has lost its lock."""


async def create_clock(connection: Connection, clock: str, now: datetime) -> TestClock:
    """Create a clock that stands at `now`, unless it exists. Raises ClockExists if it shows another instant."""
    row = await fetch_one(connection, _CREATE, id=clock, now=now) or await fetch_one(connection, _LOCK, id=clock)
    assert row is not None, "clocks are never deleted"
    found = clock_in(row)
    if found.now != now:
        raise ClockExists(found)
    return found


async def advance_clock(connection: Connection, clock: str, to: datetime) -> TestClock:
    """Give a clock its target, and notify the drivers. `to` may be its now.

    Raises NoSuchClock, ClockAdvancing and ClockGoesBack.
    """
    row = await fetch_one(connection, _LOCK, id=clock)
    if row is None:
        raise NoSuchClock
    found = clock_in(row)
    if found.status is not ClockStatus.READY:
        raise ClockAdvancing(found.id, found.target, found.error)
    if to < found.now:
        raise ClockGoesBack(found)
    advanced = await fetch_one(connection, _ADVANCE, id=clock, to=to)
    assert advanced is not None
    await outbox.notify_driver(connection, clock)
    return clock_in(advanced)


async def move_clock(connection: Connection, clock: TestClock, to: datetime) -> None:
    """Move a clock towards its target. Raises ClockMoved if another process has moved it."""
    if await execute(connection, _MOVE, id=clock.id, before=clock.now, to=to) != 1:
        raise ClockMoved


async def mark_ready(connection: Connection, clock: str) -> None:
    """Mark a clock that is at its target without due work."""
    await execute(connection, _READY, id=clock)


async def mark_stuck(connection: Connection, clock: str, error: str | None) -> None:
    """Mark a clock as stuck with this error; without an error as advancing again."""
    status = ClockStatus.ADVANCING if error is None else ClockStatus.STUCK
    await execute(connection, _STUCK, id=clock, status=status, error=error)
