"""Outcomes of attempts: settlement of messages and digest parts, bounces, signals to runs."""

from __future__ import annotations

from datetime import datetime

import structlog

from activities.delivery.settlement import Earlier, InFlight, Settlement
from activities.dependencies import Dependencies
from activities.ports import SLACK, ClockTime, Prepared
from journeys.consent.failure_classes import FailureClass, bounce_properties
from journeys.gate.status import SETTLED, Status
from journeys.protocol.wire import SOURCE_SELF
from store.database import Connection
from store.events import ingest
from store.events.reactions import reaction
from store.messages import digests, sender_refusals
from store.messages.digests import is_digest
from store.messages.entries import LedgerEntry
from store.messages.ledger import settle_attempt
from store.messages.outcomes import enqueue_outcome, reads_outcome
from store.outbox import queue as outbox
from store.people import subjects
from store.process_clock import current_instant
from store.retry import retry_transaction
from store.runs import projection

log = structlog.get_logger()


def prepared_message(deps: Dependencies, entry: LedgerEntry, now: datetime) -> Prepared:
    """The stored bytes, with the instant after which they may not be sent. `now` is by the person's clock."""
    until = entry.lease_until - SLACK if entry.lease_until is not None else None
    clock = deps.clock_of(entry)
    return Prepared(
        entry.reference or "",
        entry.address or "",
        entry.body or b"",
        until=until,
        trace=entry.trace or "",
        clock=ClockTime(clock, now) if clock is not None else None,
    )


def attempt_in_flight(deps: Dependencies, entry: LedgerEntry, now: datetime) -> InFlight:
    """The attempt of a message that is `sending`. If it is the first one, nothing had left before it."""
    began_at = entry.sent_at or now
    first_at = entry.first_attempt_at or now
    earlier = Earlier.IN_DOUBT if entry.in_doubt else Earlier.NOTHING_LEFT if first_at == began_at else Earlier.FAILED
    on_clock = deps.clock_of(entry) is not None
    return InFlight(entry.attempts, began_at, first_at, earlier, is_digest(entry.key), on_clock)


async def lock_lanes(deps: Dependencies, connection: Connection, entry: LedgerEntry) -> None:
    """Lock the lanes that receive an outcome of this message, before its row of the ledger, as steps do."""
    parts = await digests.parts_of(connection, entry.key) if is_digest(entry.key) else [entry]
    await subjects.lock_subjects(connection, [
        (await projection.read_run(connection, part.run)).lane
        for part in parts
        if await reads_outcome(connection, deps.catalogue, part.definition, part.action)
    ])  # fmt: skip


async def record_settlement(
    deps: Dependencies, connection: Connection, entry: LedgerEntry, settlement: Settlement, now: datetime
) -> bool:
    """Write the result of an attempt; False if it was settled already, or another attempt has begun.

    The outcome of a message that has ended goes to its run; a message that is due again is the outreach's.
    """
    written = await settle_attempt(
        connection,
        entry,
        settlement.status,
        detail=settlement.detail,
        attempts=settlement.attempts,
        first_attempt_at=settlement.first_attempt_at,
        sent_at=settlement.sent_at,
        now=now,
        due_at=settlement.due_at if settlement.status is Status.DEFERRED else None,
        lease_until=current_instant() + settlement.lease if settlement.lease is not None else None,
    )
    if not written:
        return False
    if settlement.due_at is not None:
        if settlement.parts is Status.DEFERRED:
            await digests.dissolve_digest(
                connection,
                entry.key,
                settlement.due_at,
                attempts=settlement.attempts,
                first=settlement.first_attempt_at,
                detail=settlement.detail,
            )
        await outbox.wake_outreach(connection, entry.recipient)
    elif settlement.status in SETTLED:
        await _enqueue_outcomes(deps, connection, entry, settlement, now)
    return True


async def _enqueue_outcomes(
    deps: Dependencies, connection: Connection, entry: LedgerEntry, settlement: Settlement, now: datetime
) -> None:
    if settlement.parts is None:
        await enqueue_outcome(connection, deps.catalogue, entry, settlement.status, now)
        return
    parts = await digests.parts_of(connection, entry.key)
    await digests.settle_parts(connection, entry.key, settlement.parts, settlement.detail, now)
    for part in parts:
        part.detail, part.reasons = settlement.detail, ()
        await enqueue_outcome(connection, deps.catalogue, part, settlement.status, now)


async def record_refusal(deps: Dependencies, entry: LedgerEntry, detail: str) -> None:
    """Count that the provider refused us, not the recipient."""
    channel, addresses = entry.channel or "", deps.catalogue.consent.addresses
    code, place = sender_refusals.code_of(detail), sender_refusals.place_of(addresses, channel, entry.address or "")

    async def work(connection: Connection) -> bool:
        return await sender_refusals.note_refusal(connection, channel, code, place)

    if await retry_transaction(deps.database, work):
        log.error("sender.refused", channel=channel, code=code, turn="operator")


async def record_bounce(deps: Dependencies, entry: LedgerEntry, reason: str, failure: FailureClass) -> None:
    """Record that a provider rejected the address at once: the same signal as after a bounce report."""
    data = {**bounce_properties(reason, failure), "address": entry.address}
    once = f"{entry.key}=bounced.{entry.attempts}"

    async def work(connection: Connection) -> None:
        event = await reaction(connection, "message_bounced", entry.key, entry.recipient, once=once, **data)
        await ingest.accept_within(connection, deps.catalogue, [event], source=SOURCE_SELF)

    await retry_transaction(deps.database, work)
