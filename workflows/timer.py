"""Durable timer of a run without a test clock, for its earliest deadline.

The clock is not read, because a replay may give another time (record 0013). A deadline has come when its timer has
fired, which counts from `note_fired` on, or when an occurrence at or after it was decided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from journeys.decision.chart import Chart
    from journeys.decision.state import RunState
    from journeys.decision.timers import jitter
    from journeys.protocol.envelope import parse_instant
    from journeys.protocol.wire import RunInput
    from workflows.limits import HistoryMeter

SOONEST = timedelta(milliseconds=1)


class TimerFirings:
    """The real instants for which timers are armed and have fired. Pure: it reads no clock.

    A firing counts for the instant that its own timer was armed for, whatever is armed when the run reads it: a timer
    that was replaced during a step may still fire, and its firing does not count for a later deadline.
    """

    def __init__(self, reached: datetime | None = None) -> None:
        self.reached = reached
        """The latest instant of a timer that has fired."""
        self.armed: datetime | None = None
        """The instant of the timer that is armed, if one is."""

    def needs_timer(self, at: datetime) -> bool:
        """Whether a timer must be armed for this instant: none is armed, or only for a later one."""
        if self.armed is not None and self.armed <= at:
            return False
        self.armed = at
        return True

    def note_fired(self, at: datetime) -> None:
        """The timer that was armed for `at` has fired."""
        self.reached = at if self.reached is None else max(self.reached, at)
        if self.armed == at:
            self.armed = None

    def has_reached(self, at: datetime) -> bool:
        """Whether a timer has fired at or after this instant."""
        return self.reached is not None and at <= self.reached


class DurableTimer:
    """A timer that is armed again only for an earlier instant; a firing that is not needed has no effect."""

    def __init__(self, start: RunInput, fire: Callable[[datetime], None], meter: HistoryMeter) -> None:
        carried = start.carried or {}
        self.firings = TimerFirings(parse_instant(carried["reached"]) if "reached" in carried else None)
        self.not_before: datetime | None = None
        """The instant before which a refused deadline is not decided again."""
        self._run, self._fire, self._meter = start.run, fire, meter
        self._handle: asyncio.TimerHandle | None = None

    def arm(self, chart: Chart, state: RunState, due: datetime) -> None:
        """Fire at this deadline of the run, or earlier if it is armed for that."""
        at = self._fires_at(chart, state, due)
        if not self.firings.needs_timer(at):
            return
        if self._handle is not None:
            self._handle.cancel()
            self._meter.count_timer()
        delay = max(SOONEST, at - workflow.now())
        self._handle = asyncio.get_running_loop().call_later(delay.total_seconds(), self._fire, at)
        self._meter.count_timer()

    def note_fired(self, at: datetime) -> None:
        """Count the firing of the timer that was armed for `at`: its batch is being decided."""
        self.firings.note_fired(at)
        if self.firings.armed is None:
            self._handle = None

    def has_come(self, chart: Chart, state: RunState, due: datetime) -> bool:
        """Whether the timer has fired, or an occurrence was decided, at or after this deadline of the run."""
        at = self._fires_at(chart, state, due)
        return self.firings.has_reached(at) or (state.last_at is not None and at <= state.last_at)

    def carried(self) -> dict[str, str]:
        """The contents for continue-as-new."""
        return {"reached": self.firings.reached.isoformat()} if self.firings.reached is not None else {}

    def _fires_at(self, chart: Chart, state: RunState, due: datetime) -> datetime:
        """The instant of a deadline: with an anchor's jitter, not before `not_before`."""
        at = due + jitter(chart, self._run, state, due)
        return at if self.not_before is None else max(at, self.not_before)
