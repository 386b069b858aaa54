"""Test clocks of subjects: their now, and refusals while they advance.

A test clock stands still until it is advanced (record 0016). The store has three nows, each with its own name:

| name | instant | used for |
|---|---|---|
| `received_at` | real, read once when a batch arrives | rows of events; the latest instant accepted from a sender |
| `now_for`, `now_from_outside`, `now_by_clock` | by the subject's clock | consents, holds, tasks, messages |
| `clock_timestamp()` | real, the database's | leases, rests and instants that several processes compare |
| `statement_timestamp()` | the same | conditions that start at an index, which a volatile function cannot |

Input from outside (events, consents, closed tasks) is accepted while the clock stands, and refused while it advances.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, select

from store.database import Connection, fetch_all, fetch_one, sql
from store.errors import ClockAdvancing
from store.expressions import any_of
from store.process_clock import current_instant
from store.schema import clocks, subjects

CLOCK = (clocks.c.id, clocks.c.now, clocks.c.target, clocks.c.status, clocks.c.error, clocks.c.progressed_at)
"""The columns of `clock_in`."""
_GET = sql(select(*CLOCK).where(clocks.c.id == bindparam("id")))
_OF_SUBJECT = sql(
    select(clocks.c.now)
    .join_from(subjects, clocks, clocks.c.id == subjects.c.clock)
    .where(subjects.c.key == bindparam("key"))
)
_of_ids = select(*CLOCK).where(any_of(clocks.c.id, "ids")).order_by(clocks.c.id)
_LIST = sql(_of_ids)
_HOLD = sql(_of_ids.with_for_update(read=True))


class ClockStatus(StrEnum):
    """Statuses of a test clock: it stands, it moves to its target, or some work on it does not end."""

    READY = "ready"
    ADVANCING = "advancing"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class TestClock:
    """A test clock. `error` names work that does not end; `progressed_at` is the real instant of its last change."""

    __test__ = False

    id: str
    now: datetime
    target: datetime
    status: ClockStatus
    error: str | None
    progressed_at: datetime

    @property
    def is_advancing(self) -> bool:
        """Whether it moves, so that input from outside is refused."""
        return self.status is ClockStatus.ADVANCING or self.now < self.target


def now_by_clock(real: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """The now of rows that are outer-joined with their `clocks`; without a clock the real instant."""
    return func.coalesce(clocks.c.now, real)


async def read_clock(connection: Connection, clock: str) -> TestClock | None:
    """The clock of this id; None if there is none."""
    row = await fetch_one(connection, _GET, id=clock)
    return clock_in(row) if row is not None else None


async def now_for(connection: Connection, clock: str | None) -> datetime:
    """The current instant: the test clock's for subjects on one, else the real one."""
    found = await read_clock(connection, clock) if clock is not None else None
    return found.now if found is not None else current_instant()


async def now_of_subject(connection: Connection, key: str) -> datetime:
    """The now of one person or account."""
    row = await fetch_one(connection, _OF_SUBJECT, key=key)
    return row["now"] if row is not None else current_instant()


async def now_from_outside(connection: Connection, clock: str | None) -> datetime:
    """The current instant for input from outside; the clock stands until the commit. Raises ClockAdvancing."""
    instants = await hold_clocks(connection, [clock] if clock is not None else [])
    return next(iter(instants.values()), None) or current_instant()


async def hold_clocks(connection: Connection, names: Iterable[str]) -> dict[str, datetime]:
    """Lock these clocks against moving until the commit; the now of each. Raises ClockAdvancing."""
    instants = {}
    for clock in await _clocks(connection, names, hold=True):
        if clock.is_advancing:
            raise ClockAdvancing(clock.id, clock.target, clock.error)
        instants[clock.id] = clock.now
    return instants


async def read_instants(connection: Connection, names: Iterable[str]) -> dict[str, datetime]:
    """The now of each of these clocks."""
    return {clock.id: clock.now for clock in await _clocks(connection, names, hold=False)}


async def _clocks(connection: Connection, names: Iterable[str], *, hold: bool) -> list[TestClock]:
    wanted = sorted(set(names))
    rows = await fetch_all(connection, _HOLD if hold else _LIST, ids=wanted) if wanted else []
    return [clock_in(row) for row in rows]


def clock_in(row: Mapping[str, Any]) -> TestClock:
    """The clock of a row of these columns."""
    return TestClock(**{**row, "status": ClockStatus(row["status"])})
