"""Quotas of callers, as leaky buckets: how many of what, in which time.

A bucket holds `limit` and drains evenly within `per`: so many at once, and so many in each such time after that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge of one bucket: `seconds` in which it drains, and `within`, the seconds that a full bucket takes."""

    name: str
    seconds: float
    within: float


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `limit` within `per`; `what` begins the names of its buckets, and tells people what is counted."""

    what: str
    limit: float
    per: timedelta

    def charge(self, of: str, number: float = 1.0) -> Charge:
        """The charge of `number` in the bucket of one key, person, network or address."""
        within = self.per.total_seconds()
        return Charge(f"{self.what}/{of}", number * within / self.limit, within)
