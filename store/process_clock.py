"""Clock of this process, corrected to PostgreSQL's.

Instants that another machine compares (leases, deadlines, acceptance) are PostgreSQL's. Asking it for each would cost a
statement a step, so a process measures by how much its machine differs, by its first connection and every half minute, and
adds that. A difference within the time of the measurement is none.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final

import structlog
from sqlalchemy import func, select

from store.database import Connection, Database, fetch_one, sql

log = structlog.get_logger()

_NOW = sql(select(func.clock_timestamp().label("now")))
SECONDS: Final = 30.0
"""Between two measurements."""
SKEWED: Final = timedelta(seconds=1)
"""Skew from which on it is logged, and the API reports it."""
SAMPLES: Final = 3
"""The answer that came soonest is the most exact."""


class ProcessClock:
    """A machine's clock, its measured `skew` against PostgreSQL's, and an `offset` that tests give it."""

    def __init__(self) -> None:
        self.offset = timedelta()
        self.skew = timedelta()
        """How far this machine is ahead of PostgreSQL, as measured last."""
        self.is_measured = False
        """Whether the last measurement succeeded."""

    def machine_now(self) -> datetime:
        """The instant that this machine shows."""
        return datetime.now(UTC) + self.offset

    def now(self) -> datetime:
        """The current instant of PostgreSQL."""
        return self.machine_now() - self.skew

    @property
    def is_skewed(self) -> bool:
        """Whether the machine needs its time service."""
        return abs(self.skew) >= SKEWED

    async def measure(self, connection: Connection) -> None:
        """Measure the skew. Raises the database's errors."""
        measured = [await self._sample(connection) for _ in range(SAMPLES)]
        took, skew = min(measured)
        self.skew = skew if abs(skew) > took else timedelta()
        self.is_measured = True

    async def _sample(self, connection: Connection) -> tuple[timedelta, timedelta]:
        """How long the answer took, and by how much this machine was ahead in the middle of that time."""
        began, before = monotonic(), self.machine_now()
        row = await fetch_one(connection, _NOW)
        took = timedelta(seconds=monotonic() - began)
        assert row is not None
        return took, before + took / 2 - row["now"]


CLOCK: Final = ProcessClock()
"""The clock of this process: there is one, as there is one system clock."""


def measure_on_connect(database: Database) -> None:
    """From the next connection on, measure the skew by a new connection before anybody uses it, if it is not known.

    A process that starts in an outage of the database would otherwise work with its machine's clock for half a minute.
    """

    async def measure_first(connection: Connection) -> None:
        if not CLOCK.is_measured:
            await CLOCK.measure(connection)

    database.options = {**database.options, "init": measure_first}


async def measure_clock(database: Database) -> None:
    """Measure the skew of this process now, and log a large one. Raises the database's errors."""
    async with database.reading() as connection:
        await CLOCK.measure(connection)
    if CLOCK.is_skewed:
        log.warning("clock.skewed", ahead_seconds=round(CLOCK.skew.total_seconds(), 3))


async def keep_measured(database: Database, stop: asyncio.Event) -> None:
    """Measure the skew now and every half minute until `stop` is set; an outage is waited for."""
    while not stop.is_set():
        try:
            await measure_clock(database)
        except Exception:  # noqa: BLE001 -- an outage; the next connection may be to another machine
            CLOCK.is_measured = False
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), SECONDS)


def current_instant() -> datetime:
    """The current instant by PostgreSQL's clock."""
    return CLOCK.now()
