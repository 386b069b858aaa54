"""Loop that drives test clocks; a lock gives each clock to one process.

It wakes when an outbox row for a subject on a clock is committed, and polls all clocks: another driver may have died.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from store.availability import log_outage
from store.clocks.due import busy_clocks
from store.errors import is_outage
from store.outbox import queue as outbox
from worker.clock_driver.drive import drive_clock
from worker.clock_driver.group import DriverParts
from worker.clock_driver.waits import STUCK_SECONDS
from worker.relay.listener import NotificationListener

log = structlog.get_logger()

POLL_SECONDS: Final = 2.0
CLOCKS_AT_ONCE: Final = 4
"""Clocks that one process drives at a time: each holds a connection for its lock."""


class ClockDriver:
    """One of any number of processes that drive clocks."""

    def __init__(self, parts: DriverParts, stuck_seconds: float = STUCK_SECONDS) -> None:
        self.parts, self._stuck_seconds = parts, stuck_seconds
        self.listener = NotificationListener(parts.database.url, outbox.CLOCKS)
        self._slots = asyncio.Semaphore(CLOCKS_AT_ONCE)
        self._drives: dict[str, asyncio.Task[None]] = {}
        self._stopping = False
        self._again: set[str] = set()
        """Clocks notified of while they were driven: that drive may have ended before it read the new row."""

    async def run(self, stop: asyncio.Event) -> None:
        """Drive until `stop` is set; another process goes on with unfinished clocks. Raises nothing."""
        looked_at = float("-inf")
        async with self.listener.listening():
            while not stop.is_set():
                self.listener.notified[""].clear()
                named = self.listener.take_payloads()
                if asyncio.get_running_loop().time() - looked_at >= POLL_SECONDS or not named:
                    looked_at = asyncio.get_running_loop().time()
                    named |= await self._busy()
                for clock in sorted(named):
                    self._begin(clock)
                await self.listener.wait(stop, POLL_SECONDS)
            self._stopping, drives = True, list(self._drives.values())
            for drive in drives:
                drive.cancel()
            await asyncio.gather(*drives, return_exceptions=True)

    async def _busy(self) -> set[str]:
        try:
            async with self.parts.database.reading() as connection:
                return set(await busy_clocks(connection, len(self.parts.chain)))
        except Exception as error:  # noqa: BLE001 -- the next poll tries again
            _log(error, "all")
            return set()

    def _begin(self, clock: str) -> None:
        if clock in self._drives:
            self._again.add(clock)
            return
        self._drives[clock] = asyncio.create_task(self._drive(clock))

    async def _drive(self, clock: str) -> None:
        try:
            async with self._slots:
                await drive_clock(self.parts, clock, self._stuck_seconds)
        except Exception as error:  # noqa: BLE001 -- one clock's fault must not stop the others
            _log(error, clock)
        finally:
            del self._drives[clock]
            if clock in self._again and not self._stopping:
                self._again.discard(clock)
                self._begin(clock)


def _log(error: BaseException, clock: str) -> None:
    """Log an outage in one line, and any other error, a bug, with its trace. The clock is driven again either way."""
    causes = error.exceptions if isinstance(error, BaseExceptionGroup) else (error,)
    if all(is_outage(cause) for cause in causes):
        log_outage("clock.store_unreachable", causes[0], clock=clock)
    else:
        log.error("clock.not_driven", clock=clock, exc_info=error)
