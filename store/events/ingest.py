"""Ingestion: a batch of events is stored and takes effect in one transaction.

The parts, in this order: store the events; change identities, profiles, runs and lanes (`apply.py`); tick checklists;
open conversations; change consents; suppress addresses. Subjects are locked before the first part, addresses in the
last (`store/locks.py`). Events that a part causes are accepted before the next part begins.

Only events that can change a next action cost more than their place in one batched insert: the index decides which.
Their subjects are locked, so that such events are sequential for each person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from journeys.events.inbound import InboundEvent, ReceivedEvent, RejectedEvent, StoredEvent
from journeys.protocol.wire import SOURCE_SELF
from store.access.claimed_fields import record_claims
from store.consent import from_events
from store.consent.requests import SOURCE_CONSENT
from store.database import Connection, Database
from store.definitions.registry import DefinitionRegistry
from store.events import log, quarantine, reactions
from store.events.apply import apply_events
from store.events.instants import instants_of
from store.events.locking import lock_batch
from store.events.resolve import resolve_events
from store.people.identities import identify
from store.retry import retry_transaction
from store.tasks import conversations


@dataclass(frozen=True, slots=True)
class IngestResult:
    """Counts of a batch: each event is in exactly one of the three. `stored` are the accepted ones."""

    accepted: int = 0
    duplicates: int = 0
    quarantined: int = 0
    stored: tuple[StoredEvent, ...] = ()


async def accept(
    database: Database,
    catalogue: DefinitionRegistry,
    events: Sequence[ReceivedEvent],
    *,
    source: str,
    clock: str | None = None,
) -> IngestResult:
    """Commit a batch. Raises only errors of the database; then nothing of the batch was accepted."""
    return await retry_transaction(database, lambda connection: _accept(connection, catalogue, events, source, clock))


async def accept_within(
    connection: Connection, catalogue: DefinitionRegistry, events: Sequence[InboundEvent], *, source: str
) -> None:
    """Accept in the caller's transaction, which has locked the subjects. Raises Contended: retry the transaction."""
    if events:
        await _accept(connection, catalogue, events, source)


async def _accept(
    connection: Connection,
    catalogue: DefinitionRegistry,
    received: Sequence[ReceivedEvent],
    source: str,
    clock: str | None = None,
) -> IngestResult:
    received_at = datetime.now(UTC)
    await catalogue.current(connection)
    rejected = [event for event in received if isinstance(event, RejectedEvent)]
    quarantined = await quarantine.hold_rejected(connection, rejected, source=source, received_at=received_at)
    events = [event for event in received if isinstance(event, InboundEvent)]
    if not events:
        return IngestResult(0, len(rejected) - quarantined, quarantined)
    known = await identify(connection, events, clock)
    resolved = resolve_events(events, known)
    locked = await lock_batch(connection, catalogue, resolved)
    instants = await instants_of(connection, resolved, locked, received_at)
    stored = await log.store_batch(connection, resolved, instants, source=source, received_at=received_at)
    if stored:
        await record_claims(connection, stored)
        settled = await apply_events(connection, catalogue, stored, known, locked)
        complete = await reactions.tick_for_events(connection, catalogue, settled)
        await accept_within(connection, catalogue, complete, source=SOURCE_SELF)
        await conversations.open_from_replies(connection, catalogue, settled)
        requested = await from_events.apply_consent_events(connection, catalogue, settled)
        await accept_within(connection, catalogue, requested, source=SOURCE_CONSENT)
        await from_events.suppress_addresses(connection, catalogue.consent, settled)
    duplicates = len(received) - len(stored) - quarantined
    return IngestResult(len(stored), duplicates, quarantined, tuple(stored))
