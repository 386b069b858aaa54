"""One durable timer, for the earliest deadline, and how far it has rung."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from temporalio import workflow

SOONEST = timedelta(milliseconds=1)


class DurableTimer:
    """Armed anew only when that is earlier than what runs; a stale one rings for nothing.

    That it has rung counts from `look` on. Nobody here asks what time it is: a replay may tell it otherwise (`_wake`).
    """

    def __init__(self, reached: datetime | None, ring: Callable[[], None]) -> None:
        self._ring = ring
        self.reached = reached
        """The latest instant that it was armed for and has rung at."""
        self.armed: datetime | None = None
        self.events = 0
        """What arming it has cost the history."""
        self._timer: asyncio.TimerHandle | None = None

    def arm(self, at: datetime) -> None:
        """Ring at a real instant, or earlier if it is armed for that."""
        if self.armed is not None and self.armed <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
            self.events += 1
        delay = max(SOONEST, at - workflow.now())
        self._timer, self.armed = asyncio.get_running_loop().call_later(delay.total_seconds(), self._ring), at
        self.events += 1

    def look(self) -> None:
        """It has rung, and that is known now."""
        self.reached = self.armed
        self._timer, self.armed = None, None
