"""TestClock: virtual instants from an origin, a speed and a limit.

Pure arithmetic; the caller reads the real clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class TestClock:
    """Virtual instant = origin + (real - started) × speed, never past `limit`."""

    __test__ = False

    id: str
    origin: datetime
    started: datetime
    speed: float
    limit: datetime | None = None

    def virtual(self, real: datetime) -> datetime:
        """The virtual instant at a real instant."""
        now = self.origin + (real - self.started) * self.speed
        return now if self.limit is None else min(now, self.limit)

    def real(self, virtual: datetime) -> datetime:
        """The real instant at which the clock shows a virtual one, if its limit allows."""
        return self.started + (virtual - self.origin) / self.speed

    def wait(self, virtual: datetime, now: datetime) -> timedelta:
        """Real time until the clock shows `virtual`; never negative."""
        return max(timedelta(0), self.real(virtual) - now)
