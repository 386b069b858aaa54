"""Ingestion: a batch of events is stored and takes effect in one transaction.

The parts, in this order: store the events; change identities, profiles, runs and lanes (`apply.py`); tick checklists;
open conversations; change consents; suppress addresses. Subjects are locked before the first part, addresses in the
last (`store/locks.py`). Events that a part causes are accepted before the next part begins.

Within a batch the order of the events' instants decides, not that of its list.

Only events that can change a next action cost more than their place in one batched insert: the index decides which.
Their subjects are locked, so that such events are sequential for each person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from journeys.events.inbound import InboundEvent, ReceivedEvent, RejectedEvent, StoredEvent
from journeys.events.network_addresses import event_with_ip_hash
from journeys.protocol.wire import SOURCE_SELF
from store.consent import from_events
from store.consent.requests import SOURCE_CONSENT
from store.database import Connection, Database
from store.definitions.registry import DefinitionRegistry
from store.events import log, quarantine, reactions
from store.events.apply import apply_events, dropped_fields, split_oversized
from store.events.instants import in_order_of_instants
from store.events.locking import lock_batch
from store.events.message_ids import OTHER_CONTENT
from store.events.quarantine import RefusedEvent, refused_event
from store.events.resolve import resolve_events, split_across_clocks
from store.people.dropped_fields import record_dropped
from store.people.identities import KnownIdentities, identify
from store.people.subjects import Subject
from store.process_clock import current_instant
from store.retry import retry_transaction
from store.tasks import conversations


@dataclass(frozen=True, slots=True)
class IngestResult:
    """Counts of a batch: each event is in exactly one of the three. `stored` are the accepted ones.

    `refused` are those in quarantine for what the store knows: other clocks, no room in a profile, or another event
    with their message id.
    """

    accepted: int = 0
    duplicates: int = 0
    quarantined: int = 0
    stored: tuple[StoredEvent, ...] = ()
    refused: tuple[RefusedEvent, ...] = ()
    new: frozenset[int] = frozenset()
    """Identities (`id`) of the events of the batch that were stored; those in `stored` may be copies without an address."""

    def as_taken(self, event: ReceivedEvent) -> ReceivedEvent:
        """An event of the batch as it was taken: rejected, if the store refused it."""
        return next((refused.rejected for refused in self.refused if refused.given is event), event)

    def is_duplicate(self, event: ReceivedEvent) -> bool:
        """Whether an event, as it was taken, repeats one that was accepted before."""
        return isinstance(event, InboundEvent) and id(event) not in self.new


async def accept(
    database: Database,
    catalogue: DefinitionRegistry,
    events: Sequence[ReceivedEvent],
    *,
    source: str,
    clock: str | None = None,
) -> IngestResult:
    """Commit a batch. Raises ClockAdvancing, and errors of the database; then nothing of the batch was accepted."""
    return await retry_transaction(
        database, lambda connection: _accept(connection, catalogue, events, source, clock, outside=True)
    )


async def accept_within(
    connection: Connection, catalogue: DefinitionRegistry, events: Sequence[InboundEvent], *, source: str
) -> None:
    """Accept in the caller's transaction, which has locked the subjects. Raises Contended: retry the transaction."""
    if events:
        await _accept(connection, catalogue, events, source, None, outside=False)


async def _accept(
    connection: Connection,
    catalogue: DefinitionRegistry,
    received: Sequence[ReceivedEvent],
    source: str,
    clock: str | None,
    *,
    outside: bool,
) -> IngestResult:
    await catalogue.current(connection)
    given, received = received, [event_with_ip_hash(event, catalogue.consent.addresses) for event in received]
    originals = {
        id(kept): event for kept, event in zip(received, given, strict=True) if isinstance(event, InboundEvent)
    }
    rejected = [event for event in received if isinstance(event, RejectedEvent)]
    opt_outs = [event.opt_out for event in rejected if event.opt_out is not None]
    events = [*(event for event in received if isinstance(event, InboundEvent)), *opt_outs]
    known = await identify(connection, events, clock) if events else {}
    resolved, across = split_across_clocks(resolve_events(events, known), catalogue.consent.rules)
    opt_outs_across = _opt_outs_of(across)
    if opt_outs_across:  # locked with the others; each names one person, so it is on one clock
        known |= await identify(connection, opt_outs_across, clock)
        resolved += resolve_events(opt_outs_across, known)
    stored, refused = list[StoredEvent](), list[RefusedEvent]()
    leaving = {subject.key for subject in known.values() if subject.is_leaving}
    locked = await lock_batch(connection, catalogue, resolved, leaving) if resolved else {}
    received_at = current_instant()  # after the wait for the locks: who enters a lane later has no earlier instant
    if resolved:
        ordered = await in_order_of_instants(connection, resolved, locked, received_at, outside=outside)
        timed, oversized = split_oversized(ordered, locked, catalogue)
        refused += oversized
        stored, others = await log.store_batch(connection, timed, source=source, received_at=received_at)
        refused += [refused_event(event, "messageId", OTHER_CONTENT, catalogue.consent.rules) for event in others]
        if stored:
            await quarantine.hold_traits(connection, stored, source=source, received_at=received_at)
            await _take_effect(connection, catalogue, stored, known, locked)
    quarantined = await quarantine.hold_rejected(
        connection,
        [*rejected, *(event.rejected for event in (*across, *refused))],
        source=source,
        received_at=received_at,
    )
    await _accept_opt_outs(connection, catalogue, refused, source, clock, outside=outside)
    if outside:  # what is accepted within another transaction has only declared fields
        await record_dropped(connection, dropped_fields(catalogue, stored), received_at)
    extra = {event.message_id for event in (*opt_outs, *opt_outs_across)}
    accepted = sum(item.event.message_id not in extra for item in stored)
    duplicates = len(received) - accepted - quarantined
    return IngestResult(
        accepted,
        duplicates,
        quarantined,
        tuple(stored),
        tuple(event._replace(given=originals.get(id(event.given), event.given)) for event in (*across, *refused)),
        frozenset(id(originals.get(id(item.event), item.event)) for item in stored),
    )


async def _accept_opt_outs(
    connection: Connection,
    catalogue: DefinitionRegistry,
    refused: Sequence[RefusedEvent],
    source: str,
    clock: str | None,
    *,
    outside: bool,
) -> None:
    """Accept the opt-outs of events that the store refused after it had locked their subjects: nothing else counts (C5)."""
    opt_outs = _opt_outs_of(refused)
    if opt_outs:
        await _accept(connection, catalogue, opt_outs, source, clock, outside=outside)


def _opt_outs_of(refused: Sequence[RefusedEvent]) -> list[InboundEvent]:
    return [event.rejected.opt_out for event in refused if event.rejected.opt_out is not None]


async def _take_effect(
    connection: Connection,
    catalogue: DefinitionRegistry,
    stored: Sequence[StoredEvent],
    known: KnownIdentities,
    locked: Mapping[str, Subject],
) -> None:
    settled = await apply_events(connection, catalogue, stored, known, locked)
    complete = await reactions.tick_for_events(connection, catalogue, settled)
    await accept_within(connection, catalogue, complete, source=SOURCE_SELF)
    await conversations.open_from_replies(connection, catalogue, settled)
    reported = await from_events.reported_addresses(connection, catalogue.consent, settled)
    requested = await from_events.apply_consent_events(connection, catalogue, settled, reported)
    await accept_within(connection, catalogue, requested, source=SOURCE_CONSENT)
    await from_events.suppress_addresses(connection, catalogue.consent, reported)
    await from_events.note_refusals(connection, catalogue.consent, settled)
