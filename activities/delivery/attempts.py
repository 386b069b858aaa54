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
from activities.dependencies import House
from activities.gate.digest import end_parts, is_digest
from activities.ports import SLACK, Ambiguity, Channel, Delivered, Prepared, Promise, Receipt
from store.database import Connection
from store.messages import digests, ledger
from store.messages.ledger import Entry
from store.outbox import queue as outbox
from store.retry import repeated

log = structlog.get_logger()

NEAR_SEARCH, FAR_SEARCH = timedelta(seconds=5), timedelta(seconds=20)
"""How long a provider may take to say what became of an attempt, all of its pages: inside a step, and on its own queue."""
AT_ONCE = timedelta(milliseconds=1)


async def attempt_all(house: House, entries: Sequence[Entry], now: datetime) -> None:
    """Every attempt of one commit, side by side: their leases began together."""
    await asyncio.gather(*(attempt(house, entry, now) for entry in entries))


async def attempt(house: House, entry: Entry, now: datetime) -> None:
    """Hand the stored bytes to the channel and settle the row by what came back."""
    channel = house.channels[entry.channel or ""]
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
        await tell_bounce(house, entry, receipt.detail)

    async def settle(connection: Connection) -> None:
        await lock_lane(house, connection, entry)
        await _settle(house, connection, entry, channel, receipt, now)

    await repeated(house.database, settle)


def can_be_asked_for(house: House, entry: Entry) -> bool:
    """Whether its provider can be asked what became of an attempt whose lease ran out."""
    return house.channels[entry.channel or ""].promise is Promise.SEARCHABLE


async def look_up_all(house: House, entries: Sequence[Entry], now: datetime) -> None:
    """Attempts whose leases ran out, at providers that can be asked, side by side."""
    await asyncio.gather(*(look_up(house, entry, now) for entry in entries))


async def look_up(house: House, entry: Entry, now: datetime) -> None:
    """Ask the provider, with nobody locked; then settle by what it says, if it is the same attempt still."""
    channel = house.channels[entry.channel or ""]
    found = await _found(channel, entry)

    async def settle(connection: Connection) -> None:
        await lock_lane(house, connection, entry)
        if found is None:
            await _ask_later(house, connection, entry, channel, now)
        elif found:
            await _end(house, connection, entry, "sent", "found at the provider", now)
        else:
            # No sooner than after any other attempt that failed, or a provider that always fails is tried every few seconds.
            wait = max(AT_ONCE, (entry.sent_at or now) + channel.retry.wait(entry.attempts) - now)
            missing = Receipt(Delivered.TRY_AGAIN, "the provider does not have it", wait)
            await _again(house, connection, entry, channel, missing, now)

    await repeated(house.database, settle)


async def recover(house: House, connection: Connection, entry: Entry, now: datetime) -> bool:
    """An attempt whose lease ran out and that nobody can be asked about: settle it, or say (True) that it is to be weighed again."""
    channel = house.channels[entry.channel or ""]
    if _stays_unknown(channel):
        await _end(house, connection, entry, "unknown", "nobody saw how the attempt ended", now)
        return False
    entry.in_doubt = True
    return True


def _stays_unknown(channel: Channel) -> bool:
    return channel.promise is Promise.BLIND and channel.ambiguity is Ambiguity.AT_MOST_ONCE


async def too_late(house: House, connection: Connection, entry: Entry, now: datetime) -> bool:
    """Settle a message in doubt that was kept for longer than tries last: its provider may have forgotten our key by now."""
    tried, channel = entry.first_attempt_at, house.channels[entry.channel or ""] if entry.channel else None
    if not entry.in_doubt or tried is None or channel is None or now <= tried + channel.retry.within:
        return False
    entry.status, entry.due_at, entry.lease_until, entry.settled_at = "unknown", None, None, now
    entry.detail = "an attempt may have arrived, and it is too late to try again without harm"
    await ledger.write(connection, entry)
    if is_digest(entry.key):
        await end_parts(connection, entry, now)
    await tell_outcome(house, connection, entry, entry.status, now)
    return True


async def _ask_later(house: House, connection: Connection, entry: Entry, channel: Channel, now: datetime) -> None:
    """Nobody can be asked now: again after as long as it has waited, until the time for tries is over."""
    since = entry.first_attempt_at or now
    if now > since + channel.retry.within:
        await _end(house, connection, entry, "unknown", "the provider could not be asked what became of it", now)
        return
    wait = max(channel.retry.first, min(channel.retry.longest, now - since))
    lease = datetime.now(UTC) + wait
    await ledger.settle(connection, entry, "sending", "cannot be asked now", now, lease_until=lease)


async def _found(channel: Channel, entry: Entry) -> bool | None:
    patience = NEAR_SEARCH if channel.local else FAR_SEARCH
    try:
        async with asyncio.timeout(patience.total_seconds()):
            return await channel.find(_prepared(entry))
    except TimeoutError:
        return None


async def _settle(
    house: House, connection: Connection, entry: Entry, channel: Channel, receipt: Receipt, now: datetime
) -> None:
    match receipt.result:
        case Delivered.SENT:
            await _end(house, connection, entry, "sent", receipt.detail, now)
        case Delivered.REFUSED:
            await _end(house, connection, entry, ledger.ended(entry, "failed"), receipt.detail, now)
        case Delivered.TRY_AGAIN:
            await _again(house, connection, entry, channel, receipt, now)
        case Delivered.UNKNOWN:
            lease = datetime.now(UTC) + _left_alone(channel, entry)
            if await ledger.settle(connection, entry, "sending", receipt.detail, now, lease_until=lease):
                await outbox.wake(connection, entry.recipient)


def _left_alone(channel: Channel, entry: Entry) -> timedelta:
    """For how long, after an end that nobody saw: who can be asked is asked soon, who is just tried again by the policy.

    What a process left that died is taken up as soon as the attempt's own lease is over: nobody has heard a provider fail.
    """
    if channel.promise is Promise.SEARCHABLE or _stays_unknown(channel):
        return SLACK
    return max(SLACK, channel.retry.wait(entry.attempts))


async def _again(
    house: House, connection: Connection, entry: Entry, channel: Channel, receipt: Receipt, now: datetime
) -> None:
    """Later, or never if it has been tried for long enough: that time begins with the first attempt that left.

    Who is told when to come back before anything left (breaker, pace, a pause) has made no attempt: none is counted.
    """
    untried = entry.untried and not receipt.left
    due = now + (receipt.after or channel.retry.wait(entry.attempts))
    if not untried and due > (entry.first_attempt_at or now) + channel.retry.within:
        await _end(house, connection, entry, ledger.ended(entry, "failed"), f"given up: {receipt.detail}", now)
    elif is_digest(entry.key) and not entry.in_doubt:
        await _dissolve(connection, entry, receipt.detail, now, due)
    elif await ledger.settle(
        connection,
        entry,
        "deferred",
        receipt.detail,
        now,
        due_at=due,
        counted=receipt.left or receipt.after is None,
        untried=untried,
    ):
        await outbox.wake(connection, entry.recipient)


async def _dissolve(connection: Connection, entry: Entry, why: str, now: datetime, due: datetime) -> None:
    """A digest that surely did not arrive: each of its parts is decided again by itself."""
    if await ledger.settle(connection, entry, "failed", f"each part again: {why}", now):
        await digests.dissolve(connection, entry.key, due, attempts=entry.attempts, first=entry.first_attempt_at)
        await outbox.wake(connection, entry.recipient)


async def _end(house: House, connection: Connection, entry: Entry, status: str, detail: str, now: datetime) -> None:
    if not await ledger.settle(connection, entry, status, detail, now):
        return
    if not is_digest(entry.key):
        await tell_outcome(house, connection, entry, status, now)
        return
    parts = await digests.parts_of(connection, entry.key)
    await digests.end_parts(connection, entry.key, status, detail, now)
    for part in parts:
        part.detail, part.reasons = detail, ()
        await tell_outcome(house, connection, part, status, now)


def _prepared(entry: Entry) -> Prepared:
    until = entry.lease_until - SLACK if entry.lease_until is not None else None
    return Prepared(entry.reference or "", entry.address or "", entry.body or b"", until=until, trace=entry.trace or "")
