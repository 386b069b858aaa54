"""Suppressions in memory, by channel and address, for everybody who has one (C5).

Addresses are compared in one spelling, as keyed hashes are in the store. An address that a person is only assumed to have is
theirs alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from journeys.consent.rules import SoftBounces
from journeys.consent.statements import ADDRESS_FIELDS
from journeys.tokens.address_hash import canonical_address


class MailboxOwner(Protocol):
    """A person with an address among their fields."""

    @property
    def profile(self) -> Mapping[str, Any]: ...


Address = tuple[str, str | MailboxOwner]
"""A channel with an address in one spelling, or with the person who is assumed to have one."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """Why nothing is sent to an address, since `at` and up to `ends_at`; None is until it is lifted."""

    reason: str
    at: datetime
    ends_at: datetime | None = None


class Suppressions:
    """The suppressed addresses of one simulation, and the soft bounces that count towards a suppression."""

    def __init__(self) -> None:
        self._in_force: dict[Address, Suppression] = {}
        self._soft_bounces: dict[Address, list[datetime]] = {}

    def apply(self, operation: str, person: MailboxOwner, data: Mapping[str, Any], at: datetime) -> None:
        """Apply an operation on a person's address (`recording.OPERATOR`); any other changes nothing."""
        channel = str(data.get("channel") or "")
        if operation == "suppress":
            self.suppress(person, channel, str(data.get("reason") or "operator"), at)
        elif operation == "lift_suppression":
            self.lift(person, channel)

    def suppress(
        self,
        person: MailboxOwner,
        channel: str,
        reason: str,
        at: datetime,
        address: str | None = None,
        ends_at: datetime | None = None,
    ) -> None:
        """Send nothing more to an address, by default the person's own. A suppression in force keeps its reason.

        One that ends gives way to one that does not.
        """
        place = _address(person, channel, address)
        known = self._in_force.get(place)
        if known is None or (known.ends_at is not None and (known.ends_at <= at or ends_at is None)):
            self._in_force[place] = Suppression(reason, at, ends_at)

    def lift(self, person: MailboxOwner, channel: str) -> None:
        """Allow messages to the person's address again. Its soft bounces until now do not count any more."""
        own = _address(person, channel)
        self._in_force.pop(own, None)
        self._soft_bounces.pop(own, None)

    def has_bounced_enough(
        self, person: MailboxOwner, channel: str, at: datetime, rules: SoftBounces, address: str | None = None
    ) -> bool:
        """Count a soft bounce of an address; whether its bounces within the rules' time reach the limit."""
        begin, place = at - rules.within.at_most(), _address(person, channel, address)
        recent = [*(bounce for bounce in self._soft_bounces.get(place, ()) if bounce > begin), at]
        self._soft_bounces[place] = recent
        return len(recent) >= rules.limit

    def of_person(self, person: MailboxOwner, now: datetime) -> dict[str, Suppression]:
        """By channel, the suppressions of a person's addresses as they are `now`."""
        if not self._in_force:
            return {}
        channels = {*ADDRESS_FIELDS, *(channel for channel, of in self._in_force if of is person)}
        places = {channel: _address(person, channel) for channel in sorted(channels)}
        known = {channel: self._in_force[place] for channel, place in places.items() if place in self._in_force}
        return {channel: each for channel, each in known.items() if each.ends_at is None or each.ends_at > now}

    def move(self, gone: MailboxOwner, into: MailboxOwner) -> None:
        """Give what is known of a visitor's assumed addresses to the user they turned out to be."""
        for channel, place in [place for place in self._in_force if place[1] is gone]:
            suppression = self._in_force.pop((channel, place))
            self._in_force.setdefault((channel, into), suppression)
        for channel, place in [place for place in self._soft_bounces if place[1] is gone]:
            bounces = self._soft_bounces.pop((channel, place))
            self._soft_bounces[channel, into] = sorted([*self._soft_bounces.get((channel, into), ()), *bounces])


def _address(person: MailboxOwner, channel: str, address: str | None = None) -> Address:
    """The place of an address; without one, of the person's own, or of the one that they are assumed to have."""
    value = address if address is not None else person.profile.get(ADDRESS_FIELDS.get(channel, ""))
    spelled = canonical_address(channel, value) if isinstance(value, str) else ""
    return channel, spelled or person
