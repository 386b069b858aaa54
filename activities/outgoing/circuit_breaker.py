"""Circuit breaker of one provider: closed, open, half-open.

It answers with a wait instead of raising, because a deferred attempt needs a due time. Each process has its own state, which costs
a provider that is down one probe for each worker and pause.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

BreakerState = Literal["closed", "open", "half_open"]
PROBE = timedelta(seconds=30)
"""Time for which a probe without a result blocks other attempts."""
PROBE_USUAL = timedelta(seconds=2)
"""Wait of other attempts during a probe; an answer usually comes within this time."""


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """Opens after `failures` in a row, for `rest`, doubled with each failed probe up to `longest`."""

    failures: int = 5
    rest: timedelta = timedelta(seconds=10)
    longest: timedelta = timedelta(minutes=5)


class CircuitBreaker:
    """States: closed → open → half-open → closed, or open again. The caller gives the current instant."""

    def __init__(self, rule: BreakerRule) -> None:
        self._rule = rule
        self._failures = 0
        self._rests = 0
        self._until: datetime | None = None
        self._probing_until: datetime | None = None

    def state(self, now: datetime) -> BreakerState:
        """The current state."""
        if self._until is None:
            return "closed"
        return "open" if now < self._until else "half_open"

    def wait(self, now: datetime) -> timedelta | None:
        """Wait before an attempt, or None if it may go now: in state half-open, as the probe."""
        if self._until is None:
            return None
        if now < self._until:
            return self._until - now
        if self._probing_until is not None and now < self._probing_until:
            return min(self._probing_until - now, PROBE_USUAL)
        self._probing_until = now + PROBE
        return None

    def succeeded(self) -> None:
        """The provider answered, whatever the result for the message: close."""
        self._failures = self._rests = 0
        self._until = self._probing_until = None

    def failed(self, now: datetime) -> bool:
        """The provider failed; whether this opens the breaker, or keeps it open."""
        self._failures += 1
        if self._until is None and self._failures < self._rule.failures:
            return False
        if self._until is not None and now < self._until:
            return False  # this attempt began before the breaker opened
        self._until = now + min(self._rule.longest, self._rule.rest * int(2 ** min(self._rests, 16)))
        self._rests += 1
        self._probing_until = None
        return True

    def released(self) -> None:
        """The probe did not reach the provider; the next attempt may be the probe."""
        self._probing_until = None
