"""Durable timer of a run, for its earliest deadline.

The clock is not asked, because a replay may tell it otherwise (record 0013): a deadline has come when the timer for it has fired,
which counts from `note_fired` on, or when something as late was decided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from journeys.calendar.test_clock import TestClock
    from journeys.decision.state import RunState
    from journeys.decision.timers import jitter
    from journeys.protocol.envelope import parse_instant
    from journeys.protocol.wire import RunInput
    from workflows.limits import HistoryMeter

SOONEST = timedelta(milliseconds=1)


class DurableTimer:
    """Armed again only for an earlier instant; one that is no longer needed fires for nothing."""

    def __init__(self, start: RunInput, clock: TestClock | None, fire: Callable[[], None], meter: HistoryMeter) -> None:
        carried = start.carried or {}
        self.reached = parse_instant(carried["reached"]) if "reached" in carried else None
        """The latest real instant that it was armed for and has fired at."""
        self.not_before: datetime | None = None
        """The real instant before which a held test clock is not asked again."""
        self._run, self._clock, self._fire, self._meter = start.run, clock, fire, meter
        self._armed: datetime | None = None
        self._handle: asyncio.TimerHandle | None = None

    def arm(self, state: RunState, due: datetime) -> None:
        """Fire at this deadline of the run, or earlier if it is armed for that."""
        at = self._fires_at(state, due)
        if self._armed is not None and self._armed <= at:
            return
        if self._handle is not None:
            self._handle.cancel()
            self._meter.count_timer()
        delay = max(SOONEST, at - workflow.now())
        self._handle = asyncio.get_running_loop().call_later(delay.total_seconds(), self._fire)
        self._armed = at
        self._meter.count_timer()

    def note_fired(self) -> None:
        """The batch with its firing is being decided."""
        self.reached = self._armed
        self._handle, self._armed = None, None

    def has_come(self, state: RunState, due: datetime) -> bool:
        """Whether the timer has fired, or something was decided, at or after this deadline of the run."""
        decided = self._real(state.last_at) if state.last_at else None
        at = self._fires_at(state, due)
        return any(instant is not None and at <= instant for instant in (self.reached, decided))

    def carried(self) -> dict[str, str]:
        """What crosses continue-as-new."""
        return {"reached": self.reached.isoformat()} if self.reached is not None else {}

    def _fires_at(self, state: RunState, due: datetime) -> datetime:
        """The real instant of a deadline: jittered where many share a date, scaled on a test clock, not before a hold ends."""
        real = self._real(due + jitter(self._run, state, due))
        return real if self.not_before is None else max(real, self.not_before)

    def _real(self, at: datetime) -> datetime:
        return at if self._clock is None else self._clock.real(at)
