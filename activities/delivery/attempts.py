"""One attempt at a message, after its `sending` is committed.

A worker that was stopped and resumes (SIGSTOP, a sleeping machine) may find that another process has taken over its
row. It settles nothing, because the ledger compares the attempt's number, and it sends nothing, because a channel
checks `until` as its last step. What remains is a stop of longer than `SLACK` between that check and the system call
that writes, microseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

import structlog

from activities.delivery.outcomes import (
    attempt_in_flight,
    lock_lanes,
    prepared_message,
    record_bounce,
    record_refusal,
    record_settlement,
)
from activities.delivery.settlement import settle
from activities.dependencies import Dependencies
from activities.ports import Receipt
from journeys.consent.failure_classes import FailureClass
from journeys.consent.statements import ADDRESS_FIELDS
from journeys.gate.status import Status
from store.database import Connection
from store.messages.entries import LedgerEntry
from store.outbox import queue as outbox
from store.retry import retry_transaction

log = structlog.get_logger()


async def attempt_all(deps: Dependencies, entries: Sequence[LedgerEntry], now: datetime) -> None:
    """Make every attempt of one commit, in parallel: their leases began together.

    On a test clock they are made one after another, in the order of the messages (record 0016).
    """
    if any(deps.clock_of(entry) is not None for entry in entries):
        for entry in entries:
            await attempt(deps, entry, now)
    else:
        await asyncio.gather(*(attempt(deps, entry, now) for entry in entries))


async def attempt(deps: Dependencies, entry: LedgerEntry, now: datetime) -> None:
    """Pass the stored bytes to the channel, and settle the row by the receipt."""
    channel = deps.channels[entry.channel or ""]
    receipt = await channel.deliver(prepared_message(deps, entry, now), entry.key)
    log.info(
        "delivery.attempted",
        channel=channel.name,
        result=receipt.result.value,
        attempt=entry.attempts,
        trace=entry.trace,
    )
    await _record(deps, entry, receipt, now)


async def _record(deps: Dependencies, entry: LedgerEntry, receipt: Receipt, now: datetime) -> None:
    # Before the row is settled: a crash in between must not lose the suppression of a dead address.
    await _record_failure(deps, entry, receipt)
    settlement = settle(attempt_in_flight(deps, entry, now), deps.channels[entry.channel or ""], receipt, now)

    async def record(connection: Connection) -> None:
        await lock_lanes(deps, connection, entry)
        recorded = await record_settlement(deps, connection, entry, settlement, now)
        if recorded and settlement.status is Status.SENDING:
            await outbox.wake_outreach(connection, entry.recipient)

    await retry_transaction(deps.database, record)


async def _record_failure(deps: Dependencies, entry: LedgerEntry, receipt: Receipt) -> None:
    """Record what a permanent refusal is about: a bounce of the recipient's address, or a refusal of us."""
    match receipt.failure:
        case None:
            return
        case FailureClass.SENDER_REFUSED:
            if deps.clock_of(entry) is None:
                await record_refusal(deps, entry, receipt.detail)
        case FailureClass.ADDRESS_GONE | FailureClass.MAILBOX_TROUBLE:
            if entry.channel in ADDRESS_FIELDS:
                await record_bounce(deps, entry, receipt.detail, receipt.failure)
