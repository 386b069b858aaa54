"""Drive of one test clock: settles its groups and moves it towards its target.

All state is in PostgreSQL: another process can go on after a crash at any point.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Final

import structlog
from prometheus_client import Counter

from store.clocks import control, due
from store.clocks.groups import Group, read_groups
from store.database import Connection
from store.locks import check_lock_held, clock_lock
from store.people.test_clocks import TestClock
from worker.clock_driver.group import DriverParts, GroupSettlement
from worker.clock_driver.waits import STUCK_SECONDS, Waits

log = structlog.get_logger()

GROUPS_AT_ONCE: Final = 16
"""Groups that are settled side by side: more would only queue in the same worker."""
HEARTBEAT_SECONDS: Final = 5.0
SILENCE: Final = timedelta(seconds=20)
"""PostgreSQL releases the lock of a process after this silence: four heartbeats."""
NOTHING_SECONDS: Final = 0.1
"""Pause after a round that settled nothing, so that a bug does not spin."""

MOVES = Counter("tenure_clock_moves_total", "Instants that test clocks were moved to")


class ClockDrive:
    """One clock in the hands of this process; `connection` holds its lock."""

    def __init__(self, parts: DriverParts, clock: str, connection: Connection, stuck_seconds: float) -> None:
        self.parts, self.clock, self._connection = parts, clock, connection
        self._alone = asyncio.Lock()
        self._waits = Waits(self._report, stuck_seconds)

    async def run(self) -> None:
        """Drive until the clock is ready. Raises ClockMoved or the connection's error once the lock is lost."""
        async with asyncio.TaskGroup() as group:
            heartbeat = group.create_task(self._keep())
            await self._advance()
            heartbeat.cancel()

    async def _advance(self) -> None:
        while True:
            clock, instant, busy = await self._look()
            if busy:
                if not await self._settle(clock, busy):
                    log.error("clock.nothing_done", clock=clock.id, groups=len(busy))
                    await asyncio.sleep(NOTHING_SECONDS)
            elif clock.now == clock.target:
                async with self._owned() as connection:
                    await control.mark_ready(connection, clock.id)
                return
            else:
                await self._move(clock, min(instant or clock.target, clock.target))

    async def _look(self) -> tuple[TestClock, datetime | None, set[Group]]:
        """The clock, the instant of its next work, and the groups with due work."""
        levels = len(self.parts.chain)
        async with self.parts.database.reading() as connection:
            state = await due.read_state(connection, self.clock, levels)
            assert state is not None, "clocks are never deleted"
            clock, has_work = state
            if has_work:
                groups = await read_groups(connection, clock.id)
                busy = await due.busy_subjects(connection, clock, levels)
                return clock, None, {groups.get(key, (key,)) for key in busy}
            return clock, await due.next_instant(connection, clock.id, levels), set()

    async def _settle(self, clock: TestClock, groups: set[Group]) -> int:
        """Settle the groups side by side; how many items were settled."""
        slots = asyncio.Semaphore(GROUPS_AT_ONCE)

        async def settle(group: Group) -> int:
            async with slots:
                return await GroupSettlement(self.parts, clock, group, self._waits).settle()

        # A group's error is raised after the others are settled.
        results = await asyncio.gather(*(settle(group) for group in sorted(groups)), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return sum(result for result in results if isinstance(result, int))

    async def _move(self, clock: TestClock, to: datetime) -> None:
        """Move the clock by the connection that holds the lock: without the lock that is impossible."""
        async with self._owned() as connection:
            await control.move_clock(connection, clock, to)
        MOVES.inc()
        log.info("clock.moved", clock=clock.id, to=to.isoformat())

    async def _report(self, error: str | None) -> None:
        log.warning("clock.stuck", clock=self.clock, error=error)
        async with self._owned() as connection:
            await control.mark_stuck(connection, self.clock, error)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            async with self._owned() as connection:
                await check_lock_held(connection)

    @contextlib.asynccontextmanager
    async def _owned(self) -> AsyncIterator[Connection]:
        """The connection that holds the lock, for one user at a time."""
        async with self._alone:
            yield self._connection


async def drive_clock(parts: DriverParts, clock: str, stuck_seconds: float = STUCK_SECONDS) -> bool:
    """Drive a clock until it is ready; False if another process drives it."""
    async with clock_lock(parts.database, clock, SILENCE) as connection:
        if connection is None:
            return False
        await ClockDrive(parts, clock, connection, stuck_seconds).run()
        return True
