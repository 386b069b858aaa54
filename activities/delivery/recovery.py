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
from activities.ports import Channel
from journeys.gate.status import Status
from store.database import Connection
from store.messages.digests import is_digest
from store.messages.entries import LedgerEntry
from store.messages.ledger import write_message
from store.messages.outcomes import tell_outcome
from store.retry import retry_transaction

NEAR_SEARCH, FAR_SEARCH = timedelta(seconds=5), timedelta(seconds=20)
"""How long a provider may take to say what became of an attempt, all of its pages: inside a step, and on its own queue."""


def is_searchable(deps: Dependencies, entry: LedgerEntry) -> bool:
    """Whether its provider can be asked what became of an attempt whose lease ran out."""
    return after_lease(deps.channels[entry.channel or ""]) is AfterLease.ASK_PROVIDER


async def look_up_all(deps: Dependencies, entries: Sequence[LedgerEntry], now: datetime) -> None:
    """Attempts whose leases ran out, at providers that can be asked, side by side."""
    await asyncio.gather(*(look_up(deps, entry, now) for entry in entries))


async def look_up(deps: Dependencies, entry: LedgerEntry, now: datetime) -> None:
    """Ask the provider, with nobody locked; then settle by its answer, if it is the same attempt still."""
    channel = deps.channels[entry.channel or ""]
    found = await _search(channel, entry)
    settlement = _settlement(attempt_in_flight(entry, now), channel, found, now)

    async def record(connection: Connection) -> None:
        await lock_lanes(deps, connection, entry)
        await record_settlement(deps, connection, entry, settlement, now)

    await retry_transaction(deps.database, record)


async def recover(deps: Dependencies, connection: Connection, entry: LedgerEntry, now: datetime) -> bool:
    """An attempt about which nobody can be asked: settle it, or say (True) that the gate decides again, in doubt."""
    if after_lease(deps.channels[entry.channel or ""]) is AfterLease.END_UNKNOWN:
        await record_settlement(deps, connection, entry, settle_unseen(attempt_in_flight(entry, now)), now)
        return False
    entry.in_doubt = True
    return True


async def expire_ambiguous(deps: Dependencies, connection: Connection, entry: LedgerEntry, now: datetime) -> bool:
    """Settle a message in doubt that was kept for longer than tries last: its provider may have forgotten our key by now."""
    tried, channel = entry.first_attempt_at, deps.channels[entry.channel or ""] if entry.channel else None
    if not entry.in_doubt or tried is None or channel is None or now <= tried + channel.retry.within:
        return False
    entry.status, entry.due_at, entry.lease_until, entry.settled_at = Status.UNKNOWN, None, None, now
    entry.detail = "an attempt may have arrived, and it is too late to try again without harm"
    await write_message(connection, entry)
    if is_digest(entry.key):
        await end_digest_parts(connection, entry, now)
    await tell_outcome(connection, deps.catalogue, entry, entry.status, now)
    return True


def _settlement(attempt: InFlight, channel: Channel, found: bool | None, now: datetime) -> Settlement:
    if found is None:
        return settle_unanswered(attempt, channel, now)
    return settle_found(attempt, channel, found, now)


async def _search(channel: Channel, entry: LedgerEntry) -> bool | None:
    patience = NEAR_SEARCH if channel.local else FAR_SEARCH
    try:
        async with asyncio.timeout(patience.total_seconds()):
            return await channel.find(prepared_message(entry))
    except TimeoutError:
        return None
