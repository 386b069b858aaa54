"""Snapshot of a locked person: everything that the gate reads before a pass.

It is read once for each pass, under the person's lock, so nothing changes during the decisions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from activities.dependencies import Dependencies
from journeys.calendar.timezones import zone_of
from journeys.consent.bound_addresses import current_addresses
from journeys.consent.mailboxes import mailboxes_of
from journeys.gate.policy import horizon
from journeys.gate.verdicts import RecipientContext
from store.database import Connection
from store.messages.digests import is_digest
from store.messages.gate_read import lock_and_read
from store.people.subjects import Subject


@dataclass(frozen=True, slots=True)
class Recipient:
    """A locked person, and the locked accounts that their messages may be about, by key."""

    person: Subject
    accounts: Mapping[str, Subject]

    def account_fields(self, account: str | None) -> Mapping[str, Any]:
        """The fields of an account; without one, of the account that the person was put into last."""
        subject = self.accounts.get(account or self.person.account_key or "")
        return subject.profile if subject is not None else {}

    def zone(self, account: str | None, default: str) -> str:
        """The person's time zone, by this account or else their last one (C7)."""
        return zone_of(self.person.profile, self.account_fields(account), default)


async def read_context(
    deps: Dependencies, connection: Connection, recipient: Recipient, now: datetime
) -> RecipientContext:
    """Lock the person and read what the gate weighs."""
    person = recipient.person
    addresses = {
        name: address
        for name, channel in deps.channels.items()
        if (address := channel.address(person.profile, person.key)) is not None
    }
    hashes = deps.catalogue.consent.addresses
    hashed, current = hashes.of_all(addresses), current_addresses(hashes, person.profile)
    counted = hashes.of_all(mailboxes_of(deps.policy, person.profile))
    since = now - horizon(deps.policy)
    context = await lock_and_read(connection, person.key, person.account_key, since, now, hashed, current, counted)
    return replace(
        context,
        # A digest waits only if it may have arrived: no message joins it, replaces it or is replaced by it.
        queue=tuple(message for message in context.queue if not is_digest(message.key)),
        addresses=dict.fromkeys(addresses, True),
        zone=recipient.zone(None, deps.policy.timezone),
        role=str(person.profile.get("role") or ""),
        channels=frozenset(deps.channels),
    )
