"""Merges: an anonymous visitor turns out to be a known user (U2).

Runs go on. The rows that are left in their old lane are delivered from there, before anything of the new lane
(`store/outbox/claims.py`) and under their old numbers, so that no run receives a row twice. What the gate reads moves:
messages for caps and cooldowns, consents (a withdrawal wins), urgent tickets. If both subjects have a run of one
journey and case, the user's run stays; if the user has had one, `entry.again` decides about the visitor's. Each package moves its own rows.
"""

from __future__ import annotations

from datetime import datetime

from journeys.events.profile_bounds import ProfileBounds
from store.access.claimed_fields import take_claims
from store.consent import records, requests
from store.database import Connection
from store.events import tickets
from store.events.admission import Admission
from store.exports import audiences
from store.inbox import checklists, items
from store.messages import due, holds, ledger
from store.outbox import queue as outbox
from store.people import identities, memberships
from store.people.field_changes import merge_fields
from store.people.subjects import Subject
from store.runs import lanes
from store.tasks import conversations, merging

_MOVES = (
    identities.move_to,
    ledger.move_to,
    checklists.move_to,
    items.move_to,
    merging.move_to,
    conversations.move_to,
    memberships.move_to,
    requests.move_to,
    tickets.move_to,
    audiences.move_to,
)


async def merge_subjects(
    connection: Connection,
    admission: Admission,
    gone: Subject,
    into: Subject,
    bounds: ProfileBounds,
    *,
    at: datetime,
    event_id: str,
) -> None:
    """Merge two locked subjects.

    What the batch did before, and what is pending of their accounts, belongs to the separate subjects, so it is written first.
    """
    for subject in (gone, into):
        await admission.catch_up(subject)
    await admission.write()
    stay = admission.open_runs(into)
    # A number without a row, so that a timer due before the new lane has rows still reads those of the old lane.
    await lanes.move_to(connection, gone.key, into.key, joined_seq=into.next_seq())
    for move_to in _MOVES:
        await move_to(connection, gone.key, into.key)
    await holds.move_to(connection, gone.key, into.key, at)
    await records.move_to(connection, gone.key, into.key, at)
    _merge_profiles(gone, into, await take_claims(connection, gone.key), bounds)
    if await due.has_unsettled(connection, into.key):
        await outbox.wake_outreach(connection, into.key)
    await admission.load()
    admission.follow_after_merge(gone, into)
    await admission.end_duplicates(into, stay, at, event_id)


def _merge_profiles(gone: Subject, into: Subject, claimed: frozenset[str], bounds: ProfileBounds) -> None:
    """Merge fields and instants. To the runs that move all fields have changed."""
    merge_fields(gone, into, claimed, bounds)
    into.changed |= set(into.profile)
    instants = [at for at in (gone.decided_at, into.decided_at) if at is not None]
    into.decided_at = max(instants, default=None)
