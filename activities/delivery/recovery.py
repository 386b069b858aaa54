"""Recovery of attempts whose lease ran out and of messages in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from activities.delivery.outcomes import attempt_in_flight, lock_lanes, prepared_message, record_settlement
from activities.delivery.settlement import (
    AfterLease,
    InFlight,
    Settlement,
    after_lease,
    settle_found,
    settle_unanswered,
    settle_unseen,
)
from activities.dependencies import Dependencies
from activities.gate.digest import end_digest_parts
from activities.ports import Channel, Prepared
from journeys.gate.status import Status
from store.database import Connection
from store.messages.digests import is_digest
from store.messages.entries import LedgerEntry
from store.messages.ledger import write_message
from store.messages.outcomes import enqueue_outcome
from store.retry import retry_transaction

NEAR_SEARCH, FAR_SEARCH = timedelta(seconds=5), timedelta(seconds=20)
"""Limit of a search at a provider, all of its pages: inside a step, and on the channel's own queue."""


def is_searchable(deps: Dependencies, entry: LedgerEntry) -> bool:
    """Whether an attempt whose lease has expired can be searched at its provider."""
    channel = deps.channel_of(entry)
    return channel is not None and after_lease(channel) is AfterLease.ASK_PROVIDER


async def look_up_all(deps: Dependencies, entries: Sequence[LedgerEntry], now: datetime) -> None:
    """Search attempts with expired leases at their providers, in parallel; on a test clock in the order of the messages."""
    if any(deps.clock_of(entry) is not None for entry in entries):
        for entry in entries:
            await look_up(deps, entry, now)
    else:
        await asyncio.gather(*(look_up(deps, entry, now) for entry in entries))


async def look_up(deps: Dependencies, entry: LedgerEntry, now: datetime) -> None:
    """Search the provider without a lock, then settle by its answer, if the attempt is still the same."""
    channel = deps.channels[entry.channel or ""]
    answer = await _search(channel, prepared_message(deps, entry, now))
    settlement = _settlement(attempt_in_flight(deps, entry, now), channel, answer, now)

    async def record(connection: Connection) -> None:
        await lock_lanes(deps, connection, entry)
        await record_settlement(deps, connection, entry, settlement, now)

    await retry_transaction(deps.database, record)


async def recover(deps: Dependencies, connection: Connection, entry: LedgerEntry, now: datetime) -> bool:
    """Settle an attempt that cannot be searched; True if the gate decides it again instead, in doubt.

    A channel that is not configured any more has no provider to ask, and none that would recognise our key.
    """
    channel = deps.channel_of(entry)
    if channel is None or after_lease(channel) is AfterLease.END_UNKNOWN:
        why = None if channel is not None else f"no provider is configured for {entry.channel} any more"
        unseen = settle_unseen(attempt_in_flight(deps, entry, now), why)
        await record_settlement(deps, connection, entry, unseen, now)
        return False
    entry.in_doubt = True
    return True


async def expire_ambiguous(deps: Dependencies, connection: Connection, entry: LedgerEntry, now: datetime) -> bool:
    """End a message in doubt after the time for retries: its provider may have deleted our key by now.

    At once if its channel is not configured any more: by another channel the person might get it twice.
    """
    tried, channel = entry.first_attempt_at, deps.channel_of(entry)
    if not entry.in_doubt or tried is None or entry.channel is None:
        return False
    if channel is not None and now <= tried + channel.retry.within:
        return False
    late, gone = "it is too late to retry safely", f"no provider is configured for {entry.channel} any more"
    entry.status, entry.due_at, entry.lease_until, entry.settled_at = Status.UNKNOWN, None, None, now
    entry.detail = f"an attempt may have arrived, and {gone if channel is None else late}"
    await write_message(connection, entry)
    if is_digest(entry.key):
        await end_digest_parts(connection, entry, now)
    await enqueue_outcome(connection, deps.catalogue, entry, entry.status, now)
    return True


def _settlement(attempt: InFlight, channel: Channel, answer: bool | None, now: datetime) -> Settlement:
    if answer is None:
        return settle_unanswered(attempt, channel, now)
    return settle_found(attempt, channel, answer, now)


async def _search(channel: Channel, prepared: Prepared) -> bool | None:
    limit = NEAR_SEARCH if channel.local else FAR_SEARCH
    try:
        async with asyncio.timeout(limit.total_seconds()):
            return await channel.find(prepared)
    except TimeoutError:
        return None
