"""Resolution of a batch: the subjects of each event, found once, on one clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from journeys.consent.rules import ConsentRules
from journeys.events.inbound import InboundEvent, ResolvedEvent
from store.events.quarantine import RefusedEvent, refused_event
from store.people.identities import KnownIdentities, KnownSubject, identities_of

_ON_NONE: Final = frozenset({None})


def resolve_events(events: Iterable[InboundEvent], known: KnownIdentities) -> list[ResolvedEvent]:
    """The events with their subjects, by the identities that `identify` returned; each event has at least one."""
    return [_resolved(event, known) for event in events]


def split_across_clocks(
    resolved: Iterable[ResolvedEvent], rules: ConsentRules
) -> tuple[list[ResolvedEvent], list[RefusedEvent]]:
    """The events of people and accounts on one clock, and those that would join several, for the quarantine."""
    within, across = list[ResolvedEvent](), list[RefusedEvent]()
    for item in resolved:
        if len(item.clocks) == 1:
            within.append(item)
            continue
        names = " and ".join(sorted(f"the test clock {clock}" if clock else "the real clock" for clock in item.clocks))
        fault = f"it names people or accounts on {names}: nobody is joined across clocks"
        across.append(refused_event(item.event, "", fault, rules))
    return within, across


def _resolved(event: InboundEvent, known: KnownIdentities) -> ResolvedEvent:
    identities = identities_of(event)
    account = known["account_id", event.account_id] if event.account_id else None
    named = account.key if account is not None else None
    if len(identities) == 1:  # nearly every event
        subject = known[identities[0]]
        clocks = _ON_NONE if subject.clock is None and account is None else _clocks([subject], account)
        return ResolvedEvent(
            event, (subject.key,), (subject.account_key,), named, changes_identity=False, clocks=clocks
        )
    subjects = [known[identity] for identity in identities if identity in known]
    keys, accounts = tuple(each.key for each in subjects), tuple(each.account_key for each in subjects)
    joined = len(keys) == 2 and keys[0] == keys[1]
    clocks = _clocks(subjects, account)
    return ResolvedEvent(event, keys, accounts, named, changes_identity=not joined, clocks=clocks)


def _clocks(subjects: Sequence[KnownSubject], account: KnownSubject | None) -> frozenset[str | None]:
    return frozenset(subject.clock for subject in (*subjects, account) if subject is not None)
