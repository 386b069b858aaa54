"""Whom each event of a batch is about, resolved once."""

from __future__ import annotations

from collections.abc import Iterable

from journeys.events.inbound import InboundEvent, ResolvedEvent
from store.people.identities import KnownIdentities, identities_of


def resolve_events(events: Iterable[InboundEvent], known: KnownIdentities) -> list[ResolvedEvent]:
    """The events with their subjects, by the identities as `identify` has left them: each event has one at least."""
    return [_resolved(event, known) for event in events]


def _resolved(event: InboundEvent, known: KnownIdentities) -> ResolvedEvent:
    identities = identities_of(event)
    subjects = [known[identity] for identity in identities if identity in known]
    joined = len(identities) == 1 or (len(subjects) == 2 and subjects[0][0] == subjects[1][0])
    return ResolvedEvent(
        event=event,
        subjects=tuple(key for key, _ in subjects),
        accounts=tuple(account for _, account in subjects),
        named_account=known["account_id", event.account_id][0] if event.account_id else None,
        changes_identity=not joined,
    )
