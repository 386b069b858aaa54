"""One attempt at a message, after its `sending` is committed.

A worker that is stopped and goes on (SIGSTOP, a machine asleep) is a zombie: its row may be another's by now. It settles
nothing, because the ledger asks for its attempt's number, and it sends nothing, because a channel looks at `until` as its
last act. What remains is a stop of longer than `SLACK` between that look and the system call that writes, microseconds.
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
    record_settlement,
    tell_bounce,
)
from activities.delivery.settlement import settle
from activities.dependencies import Dependencies
from journeys.gate.status import Status
from store.database import Connection
from store.messages.entries import LedgerEntry
from store.outbox import queue as outbox
from store.retry import retry_transaction

log = structlog.get_logger()


async def attempt_all(deps: Dependencies, entries: Sequence[LedgerEntry], now: datetime) -> None:
    """Every attempt of one commit, side by side: their leases began together."""
    await asyncio.gather(*(attempt(deps, entry, now) for entry in entries))


async def attempt(deps: Dependencies, entry: LedgerEntry, now: datetime) -> None:
    """Hand the stored bytes to the channel and settle the row by what came back."""
    channel = deps.channels[entry.channel or ""]
    receipt = await channel.deliver(prepared_message(entry), entry.key)
    log.info(
        "delivery.attempted",
        channel=channel.name,
        result=receipt.result.value,
        attempt=entry.attempts,
        trace=entry.trace,
    )
    if receipt.gone:
        # Before its row is settled: who dies in between has silenced a dead address, and nobody has forgotten to.
        await tell_bounce(deps, entry, receipt.detail)
    settlement = settle(attempt_in_flight(entry, now), channel, receipt, now)

    async def record(connection: Connection) -> None:
        await lock_lanes(deps, connection, entry)
        recorded = await record_settlement(deps, connection, entry, settlement, now)
        if recorded and settlement.status is Status.SENDING:
            await outbox.wake_outreach(connection, entry.recipient)

    await retry_transaction(deps.database, record)
