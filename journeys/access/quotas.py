"""Quotas of callers, as leaky buckets: how many of what, in which time.

A bucket holds `limit` and drains evenly within `per`: so many at once, and so many in each such time after that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
        """The charge of `number` in the bucket of one key, person, network or address; above the limit it never fits."""
        within = self.per.total_seconds()
        return Charge(f"{self.what}/{of}", number * within / self.limit, within)

    def largest(self, of: str, number: float) -> Charge:
        """As `charge`, but a number above the limit needs an empty bucket, and does not wait for ever."""
        return self.charge(of, min(number, self.limit))

    def times(self, factor: float) -> Quota:
        """The quota of a larger whole, such as a site with many networks."""
        return replace(self, limit=self.limit * factor)


@dataclass(frozen=True, slots=True)
class IngestQuotas:
    """Quotas of one deployment on ingestion. Those of networks, people and addresses concern public keys only."""

    public_requests: Quota
    public_bytes: Quota
    public_events: Quota
    public_held: Quota
    public_people: Quota
    secret_requests: Quota
    secret_bytes: Quota
    network_requests: Quota
    network_bytes: Quota
    network_events: Quota
    network_held: Quota
    network_people: Quota
    network_addresses: Quota
    person_events: Quota
    public_day_bytes: Quota
    secret_day_bytes: Quota
    operator_day_bytes: Quota
    provider_day_bytes: Quota
    address_claims: Quota
