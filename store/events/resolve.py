"""Resolution of a batch: the subjects of each event, found once."""

from __future__ import annotations

from collections.abc import Iterable

from journeys.events.inbound import InboundEvent, ResolvedEvent
from store.people.identities import KnownIdentities, identities_of


def resolve_events(events: Iterable[InboundEvent], known: KnownIdentities) -> list[ResolvedEvent]:
    """The events with their subjects, by the identities that `identify` returned; each event has at least one."""
    return [_resolved(event, known) for event in events]


def _resolved(event: InboundEvent, known: KnownIdentities) -> ResolvedEvent:
    identities = identities_of(event)
    named = known["account_id", event.account_id][0] if event.account_id else None
    if len(identities) == 1:  # nearly every event
        key, account = known[identities[0]]
        return ResolvedEvent(event, (key,), (account,), named, changes_identity=False)
    subjects = [known[identity] for identity in identities if identity in known]
    keys, accounts = zip(*subjects, strict=True)
    joined = len(keys) == 2 and keys[0] == keys[1]
    return ResolvedEvent(event, keys, accounts, named, changes_identity=not joined)
