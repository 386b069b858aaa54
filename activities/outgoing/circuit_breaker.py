"""Circuit breaker of one provider: closed, open, half-open.

Our own, because the well-kept ones wrap a call and raise: here a refusal is a due time, and two lines of arithmetic.
State is one process's: each worker finds out for itself, which costs a provider that is down one probe a worker and rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

BreakerState = Literal["closed", "open", "half_open"]
PROBE = timedelta(seconds=30)
"""How long a probe whose end nobody told keeps others away."""
PROBE_USUAL = timedelta(seconds=2)
"""How soon others ask how it ended. An answer comes within this; told `PROBE`, they would wait beyond a provider's return."""


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """Open after `failures` in a row; rest for `rest`, doubled with each failed probe up to `longest`."""

    failures: int = 5
    rest: timedelta = timedelta(seconds=10)
    longest: timedelta = timedelta(minutes=5)


class CircuitBreaker:
    """closed → open → half-open → closed, or open again. Instants are the caller's: nothing here asks a clock."""

    def __init__(self, rule: BreakerRule) -> None:
        self._rule = rule
        self._failures = 0
        self._rests = 0
        self._until: datetime | None = None
        self._probing_until: datetime | None = None

    def standing(self, now: datetime) -> BreakerState:
        """For people and metrics."""
        if self._until is None:
            return "closed"
        return "open" if now < self._until else "half_open"

    def wait(self, now: datetime) -> timedelta | None:
        """How long an attempt should stay away, or None: then it goes, as the probe if the breaker is half-open."""
        if self._until is None:
            return None
        if now < self._until:
            return self._until - now
        if self._probing_until is not None and now < self._probing_until:
            return min(self._probing_until - now, PROBE_USUAL)
        self._probing_until = now + PROBE
        return None

    def succeeded(self) -> None:
        """The provider answered, whatever it said about one message."""
        self._failures = self._rests = 0
        self._until = self._probing_until = None

    def failed(self, now: datetime) -> bool:
        """The provider itself did not serve; True if this opens the breaker, or keeps it open."""
        self._failures += 1
        if self._until is None and self._failures < self._rule.failures:
            return False
        if self._until is not None and now < self._until:
            return False  # an attempt that began before it opened says nothing new
        self._until = now + min(self._rule.longest, self._rule.rest * int(2 ** min(self._rests, 16)))
        self._rests += 1
        self._probing_until = None
        return True

    def released(self) -> None:
        """The probe did not get as far as the provider: the next attempt may be it."""
        self._probing_until = None
