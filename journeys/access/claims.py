"""Claims of public keys: new people, and addresses that somebody wants mails at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from journeys.access.demands import addresses_in
from journeys.consent.rules import ConsentRules
from journeys.consent.statements import statements_in
from journeys.events.inbound import InboundEvent
from journeys.tokens.address_hash import canonical_address

PersonIdentity = tuple[str, str]
"""(kind, value): kind is `user_id` or `anonymous_id`."""


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """A person whom an identity belongs to. `is_user`: they have a user id; `addresses` by channel."""

    key: str
    is_user: bool
    addresses: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Claims:
    """What a request claims: events by person, new people, and (channel, address) once for each claim."""

    events: dict[PersonIdentity, int] = field(default_factory=dict)
    new: set[PersonIdentity] = field(default_factory=set)
    addresses: list[tuple[str, str]] = field(default_factory=list)


def identity_in(event: InboundEvent) -> PersonIdentity:
    """The identity that an event of a public key is about: the user, else the visitor."""
    return ("user_id", event.user_id) if event.user_id is not None else ("anonymous_id", event.anonymous_id or "")


def claims_of(
    rules: ConsentRules, events: Iterable[InboundEvent], people: Mapping[PersonIdentity, KnownPerson]
) -> Claims:
    """The claims of a request's events.

    An address is claimed when somebody is given it who did not have it, and again with every grant, which sends a mail there.
    """
    claims = Claims()
    given: dict[PersonIdentity, dict[str, str]] = {}
    for event in events:
        who = identity_in(event)
        claims.events[who] = claims.events.get(who, 0) + 1
        person = people.get(who)
        if person is None:
            claims.new.add(who)
        theirs = given.setdefault(who, dict(person.addresses) if person is not None else {})
        for channel, address in addresses_in(event):
            known = theirs.get(channel, "")
            if canonical_address(channel, known) != canonical_address(channel, address):
                claims.addresses.append((channel, address))
            theirs[channel] = address
        if any(statement.granted for statement in statements_in(rules, event)):
            claims.addresses += list(theirs.items())
    return claims


def unproven_visitors(
    events: Iterable[InboundEvent], people: Mapping[PersonIdentity, KnownPerson]
) -> list[InboundEvent]:
    """Events of a visitor who is a known user by now, without their user id."""
    return [
        event
        for event in events
        if event.user_id is None and (person := people.get(identity_in(event))) is not None and person.is_user
    ]
