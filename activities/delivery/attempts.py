"""One attempt, after its `sending` is committed, and what becomes of an attempt whose end nobody saw.

| class | the attempt is known to have failed | nobody knows |
|---|---|---|
| A, takes our key | tried again by the channel's policy | the same: the key makes it harmless |
| B, searchable | tried again by the channel's policy | asked for by our reference: there, or the same |
| C, blind | tried again by the channel's policy | `at_most_once`: `unknown`, for a person; `at_least_once`: the same |

A worker that is stopped and goes on (SIGSTOP, a machine asleep) is a zombie: its row may be another's by now. It settles
nothing, because `settle` asks for its attempt's number, and it sends nothing, because a channel looks at `until` as its
last act. What remains is a stop of longer than `SLACK` between that look and the system call that writes, microseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog

from activities.delivery.outcomes import lock_lane, tell_bounce, tell_outcome
from activities.dependencies import Dependencies
from activities.gate.digest import end_digest_parts, is_digest
from activities.ports import SLACK, Ambiguity, AttemptResult, Channel, Prepared, Promise, Receipt
from store.database import Connection
from store.messages import digests, ledger
from store.messages.ledger import LedgerEntry
from store.outbox import queue as outbox
from store.retry import retry_transaction

log = structlog.get_logger()

NEAR_SEARCH, FAR_SEARCH = timedelta(seconds=5), timedelta(seconds=20)
"""How long a provider may take to say what became of an attempt, all of its pages: inside a step, and on its own queue."""
AT_ONCE = timedelta(milliseconds=1)


async def attempt_all(deps: Dependencies, entries: Sequence[LedgerEntry], now: datetime) -> None:
    """Every attempt of one commit, side by side: their leases began together."""
    await asyncio.gather(*(attempt(deps, entry, now) for entry in entries))


async def attempt(deps: Dependencies, entry: LedgerEntry, now: datetime) -> None:
    """Hand the stored bytes to the channel and settle the row by what came back."""
    channel = deps.channels[entry.channel or ""]
    receipt = await channel.deliver(_prepared(entry), entry.key)
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

    async def settle(connection: Connection) -> None:
        await lock_lane(deps, connection, entry)
        await _settle(deps, connection, entry, channel, receipt, now)

    await retry_transaction(deps.database, settle)


def is_searchable(deps: Dependencies, entry: LedgerEntry) -> bool:
    """Whether its provider can be asked what became of an attempt whose lease ran out."""
    return deps.channels[entry.channel or ""].promise is Promise.SEARCHABLE


async def look_up_all(deps: Dependencies, entries: Sequence[LedgerEntry], now: datetime) -> None:
    """Attempts whose leases ran out, at providers that can be asked, side by side."""
    await asyncio.gather(*(look_up(deps, entry, now) for entry in entries))


async def look_up(deps: Dependencies, entry: LedgerEntry, now: datetime) -> None:
    """Ask the provider, with nobody locked; then settle by what it says, if it is the same attempt still."""
    channel = deps.channels[entry.channel or ""]
    found = await _found(channel, entry)

    async def settle(connection: Connection) -> None:
        await lock_lane(deps, connection, entry)
        if found is None:
            await _ask_later(deps, connection, entry, channel, now)
        elif found:
            await _end(deps, connection, entry, "sent", "found at the provider", now)
        else:
            # No sooner than after any other attempt that failed, or a provider that always fails is tried every few seconds.
            wait = max(AT_ONCE, (entry.sent_at or now) + channel.retry.wait(entry.attempts) - now)
            missing = Receipt(AttemptResult.TRY_AGAIN, "the provider does not have it", wait)
            await _again(deps, connection, entry, channel, missing, now)

    await retry_transaction(deps.database, settle)


async def recover(deps: Dependencies, connection: Connection, entry: LedgerEntry, now: datetime) -> bool:
    """An attempt whose lease ran out and that nobody can be asked about: settle it, or say (True) that it is to be weighed again."""
    channel = deps.channels[entry.channel or ""]
    if _stays_unknown(channel):
        await _end(deps, connection, entry, "unknown", "nobody saw how the attempt ended", now)
        return False
    entry.in_doubt = True
    return True


def _stays_unknown(channel: Channel) -> bool:
    return channel.promise is Promise.BLIND and channel.ambiguity is Ambiguity.AT_MOST_ONCE


async def expire_ambiguous(deps: Dependencies, connection: Connection, entry: LedgerEntry, now: datetime) -> bool:
    """Settle a message in doubt that was kept for longer than tries last: its provider may have forgotten our key by now."""
    tried, channel = entry.first_attempt_at, deps.channels[entry.channel or ""] if entry.channel else None
    if not entry.in_doubt or tried is None or channel is None or now <= tried + channel.retry.within:
        return False
    entry.status, entry.due_at, entry.lease_until, entry.settled_at = "unknown", None, None, now
    entry.detail = "an attempt may have arrived, and it is too late to try again without harm"
    await ledger.write_message(connection, entry)
    if is_digest(entry.key):
        await end_digest_parts(connection, entry, now)
    await tell_outcome(deps, connection, entry, entry.status, now)
    return True


async def _ask_later(
    deps: Dependencies, connection: Connection, entry: LedgerEntry, channel: Channel, now: datetime
) -> None:
    """Nobody can be asked now: again after as long as it has waited, until the time for tries is over."""
    since = entry.first_attempt_at or now
    if now > since + channel.retry.within:
        await _end(deps, connection, entry, "unknown", "the provider could not be asked what became of it", now)
        return
    wait = max(channel.retry.first, min(channel.retry.longest, now - since))
    lease = datetime.now(UTC) + wait
    await ledger.settle_attempt(connection, entry, "sending", "cannot be asked now", now, lease_until=lease)


async def _found(channel: Channel, entry: LedgerEntry) -> bool | None:
    patience = NEAR_SEARCH if channel.local else FAR_SEARCH
    try:
        async with asyncio.timeout(patience.total_seconds()):
            return await channel.find(_prepared(entry))
    except TimeoutError:
        return None


async def _settle(
    deps: Dependencies, connection: Connection, entry: LedgerEntry, channel: Channel, receipt: Receipt, now: datetime
) -> None:
    match receipt.result:
        case AttemptResult.SENT:
            await _end(deps, connection, entry, "sent", receipt.detail, now)
        case AttemptResult.REFUSED:
            await _end(deps, connection, entry, ledger.status_after(entry, "failed"), receipt.detail, now)
        case AttemptResult.TRY_AGAIN:
            await _again(deps, connection, entry, channel, receipt, now)
        case AttemptResult.UNKNOWN:
            lease = datetime.now(UTC) + _left_alone(channel, entry)
            if await ledger.settle_attempt(connection, entry, "sending", receipt.detail, now, lease_until=lease):
                await outbox.wake_outreach(connection, entry.recipient)


def _left_alone(channel: Channel, entry: LedgerEntry) -> timedelta:
    """For how long, after an end that nobody saw: who can be asked is asked soon, who is just tried again by the policy.

    What a process left that died is taken up as soon as the attempt's own lease is over: nobody has heard a provider fail.
    """
    if channel.promise is Promise.SEARCHABLE or _stays_unknown(channel):
        return SLACK
    return max(SLACK, channel.retry.wait(entry.attempts))


async def _again(
    deps: Dependencies, connection: Connection, entry: LedgerEntry, channel: Channel, receipt: Receipt, now: datetime
) -> None:
    """Later, or never if it has been tried for long enough: that time begins with the first attempt that left.

    Who is told when to come back before anything left (breaker, pace, a pause) has made no attempt: none is counted.
    """
    untried = entry.untried and not receipt.left
    due = now + (receipt.after or channel.retry.wait(entry.attempts))
    if not untried and due > (entry.first_attempt_at or now) + channel.retry.within:
        await _end(deps, connection, entry, ledger.status_after(entry, "failed"), f"given up: {receipt.detail}", now)
    elif is_digest(entry.key) and not entry.in_doubt:
        await _dissolve(connection, entry, receipt.detail, now, due)
    elif await ledger.settle_attempt(
        connection,
        entry,
        "deferred",
        receipt.detail,
        now,
        due_at=due,
        counted=receipt.left or receipt.after is None,
        untried=untried,
    ):
        await outbox.wake_outreach(connection, entry.recipient)


async def _dissolve(connection: Connection, entry: LedgerEntry, why: str, now: datetime, due: datetime) -> None:
    """A digest that surely did not arrive: each of its parts is decided again by itself."""
    if await ledger.settle_attempt(connection, entry, "failed", f"each part again: {why}", now):
        await digests.dissolve_digest(connection, entry.key, due, attempts=entry.attempts, first=entry.first_attempt_at)
        await outbox.wake_outreach(connection, entry.recipient)


async def _end(
    deps: Dependencies, connection: Connection, entry: LedgerEntry, status: str, detail: str, now: datetime
) -> None:
    if not await ledger.settle_attempt(connection, entry, status, detail, now):
        return
    if not is_digest(entry.key):
        await tell_outcome(deps, connection, entry, status, now)
        return
    parts = await digests.parts_of(connection, entry.key)
    await digests.settle_parts(connection, entry.key, status, detail, now)
    for part in parts:
        part.detail, part.reasons = detail, ()
        await tell_outcome(deps, connection, part, status, now)


def _prepared(entry: LedgerEntry) -> Prepared:
    until = entry.lease_until - SLACK if entry.lease_until is not None else None
    return Prepared(entry.reference or "", entry.address or "", entry.body or b"", until=until, trace=entry.trace or "")
