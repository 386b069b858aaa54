"""Claims of public keys: new people, and mailboxes and numbers to be written to."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from journeys.access.demands import addresses_in
from journeys.consent.rules import ConsentRules
from journeys.consent.statements import statements_in
from journeys.events.inbound import InboundEvent
from journeys.tokens.address_hash import canonical_address

PersonIdentity = tuple[str, str]
"""(kind, value): kind is `user_id` or `anonymous_id`."""


_GMAIL: Final = frozenset({"gmail.com", "googlemail.com"})
_LONGEST_DOMAIN: Final = 253
_AFTER_NUMBER: Final = re.compile(r"[^\d\s()+./-]")
_DIGITS_OF_NUMBER: Final = 9
"""Last digits of a number that are counted: the national number, however its prefix is written."""


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """A person whom an identity belongs to. `is_user`: they have a user id; `addresses` by channel."""

    key: str
    is_user: bool
    addresses: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Claims:
    """What a request claims: events by person, new people, and (channel, mailbox or number) once for each claim.

    `held` events go to quarantine.
    """

    events: dict[PersonIdentity, int] = field(default_factory=dict)
    new: set[PersonIdentity] = field(default_factory=set)
    addresses: list[tuple[str, str]] = field(default_factory=list)
    held: int = 0


def identity_in(event: InboundEvent) -> PersonIdentity:
    """The identity that an event of a public key is about: the user, else the visitor."""
    return ("user_id", event.user_id) if event.user_id is not None else ("anonymous_id", event.anonymous_id or "")


def identities_in(event: InboundEvent) -> tuple[PersonIdentity, ...]:
    """Every identity that an event of a public key names: with a user's, the visitor's that is joined to them."""
    user = (("user_id", event.user_id),) if event.user_id is not None else ()
    visitor = (("anonymous_id", event.anonymous_id),) if event.anonymous_id is not None else ()
    return (*user, *visitor)


def claims_of(
    rules: ConsentRules, events: Iterable[InboundEvent], people: Mapping[PersonIdentity, KnownPerson]
) -> Claims:
    """The claims of a request's events; `people` are those of all `identities_in` them.

    A person is new, and so is every further visitor's id that is joined to one: both grow the store.
    An address is claimed when somebody is given it who did not have it, and again with every grant, which sends a mail there.
    """
    claims = Claims()
    given: dict[PersonIdentity, dict[str, str]] = {}
    seen = set(people)
    for event in events:
        who = identity_in(event)
        claims.events[who] = claims.events.get(who, 0) + 1
        person = people.get(who)
        unknown = [identity for identity in identities_in(event) if identity not in seen]
        claims.new.update(unknown[:1])
        seen.update(unknown)
        theirs = given.setdefault(who, dict(person.addresses) if person is not None else {})
        for channel, address in addresses_in(event):
            known = theirs.get(channel, "")
            if canonical_address(channel, known) != canonical_address(channel, address):
                claims.addresses.append((channel, mailbox_of(channel, address)))
            theirs[channel] = address
        if any(statement.granted for statement in statements_in(rules, event)):
            claims.addresses += [(channel, mailbox_of(channel, address)) for channel, address in theirs.items()]
    return claims


def mailbox_of(channel: str, address: str) -> str:
    """One text for the addresses that reach the same person, as far as their form shows: for counting, not for sending.

    A mail address is without its detail (RFC 5233) and the dots that Gmail ignores, its domain in ASCII (RFC 5890). A number
    is without extension and international prefix, so that a few of different countries are counted together.
    """
    if channel != "email":
        return canonical_address(channel, _AFTER_NUMBER.split(address, maxsplit=1)[0])[-_DIGITS_OF_NUMBER:]
    local, _, domain = canonical_address(channel, address).rpartition("@")
    if len(domain) <= _LONGEST_DOMAIN:
        with contextlib.suppress(UnicodeError):  # such a domain receives no mail
            domain = domain.encode("idna").decode("ascii")
    local = local.partition("+")[0] or local
    return f"{local.replace('.', '')}@gmail.com" if domain in _GMAIL else f"{local}@{domain}"
