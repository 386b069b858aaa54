"""Locks of a batch: its subjects, all at once and in key order."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from journeys.events.inbound import InboundEvent, ResolvedEvent
from store.consent import from_events
from store.database import Connection
from store.definitions.registry import DefinitionRegistry
from store.errors import Contended
from store.messages import reevaluation
from store.people import memberships, subjects
from store.people.subjects import Subject

PROFILE_KINDS = frozenset({"identify", "group", "alias"})


async def lock_batch(
    connection: Connection, catalogue: DefinitionRegistry, resolved: Sequence[ResolvedEvent], leaving: AbstractSet[str]
) -> dict[str, Subject]:
    """Lock the subjects of the batch, and the lanes that its withdrawals and reevaluations reach; the former by key.

    An event that can change nothing locks only who is `leaving` (`store/retention/visitors.py`). Raises Contended if a person's account has changed, or a visitor was
    deleted, since the identities were read.
    """
    concerned = {
        key
        for item in resolved
        if item.changes_identity
        or _changes_profile(item.event)
        or catalogue.matters(item.event.name)
        or not leaving.isdisjoint(item.subjects)
        for key in item.lanes
    }
    all_locked = await subjects.lock_subjects(
        connection,
        concerned
        | await from_events.lanes_to_lock(connection, catalogue.consent, resolved)
        | await reevaluation.members_to_lock(connection, catalogue, resolved),
    )
    locked = {key: subject for key, subject in all_locked.items() if key in concerned}
    if concerned - locked.keys():
        raise Contended  # retention has deleted a visitor since then
    if any(subject.account_key and subject.account_key not in locked for subject in locked.values()):
        raise Contended
    return locked


def _changes_profile(event: InboundEvent) -> bool:
    return event.kind in PROFILE_KINDS or event.name == memberships.LEFT
