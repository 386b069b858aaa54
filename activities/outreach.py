"""What a person is owed: everything deferred, merged or to be retried is decided again here when it falls due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog

from activities import delivery, gate
from activities.house import House
from activities.outcomes import tell_outcome
from journeys import wire
from journeys.clock import TestClock
from journeys.envelope import instant
from store import ledger, subjects
from store.database import Connection
from store.ledger import Entry

log = structlog.get_logger()

SOON = timedelta(milliseconds=50)


async def settle_due(house: House, request: wire.SettleInput) -> wire.SettleResult:
    """Weigh what is due for one person, make the attempts, and say when something is due next, as a real instant."""
    async with house.database.transaction() as connection:
        attempts, now = await _decide(house, connection, request)
    await delivery.attempt_all(house, attempts, now)
    async with house.database.transaction() as connection:
        return wire.SettleResult(await _next(house, connection, request))


async def _decide(house: House, connection: Connection, request: wire.SettleInput) -> tuple[list[Entry], datetime]:
    account_key = await subjects.account_of(connection, request.subject_key)
    locked = await subjects.lock(connection, [key for key in (request.subject_key, account_key) if key])
    person = locked[request.subject_key]
    clock = await house.test_clock(connection, person.clock)
    now = house.now(clock, request.now)
    attempts = []
    for entry in await ledger.due(connection, person.key, now):
        if entry.status == "sending" and not await delivery.recover(house, connection, entry, now):
            continue
        account = locked.get(person.account_key) if person.account_key else None
        if await gate.weigh(house, connection, entry, person, account, now):
            attempts.append(entry)
        await tell_outcome(house, connection, entry, entry.status, now)
    return attempts, now


async def _next(house: House, connection: Connection, request: wire.SettleInput) -> str | None:
    due, lease = await ledger.next_due(connection, request.subject_key)
    clock = await house.test_clock(connection, await subjects.clock_of(connection, request.subject_key))
    if house.clock == "workflow":
        # Leases are real time; a workflow that skips waits as long by its own clock.
        left = lease - datetime.now(UTC) if lease is not None else None
        instants = [due, instant(request.now) + max(left, SOON) if left is not None else None]
    else:
        instants = [_real(clock, due), lease]
    earliest = min((at for at in instants if at is not None), default=None)
    return earliest.isoformat() if earliest is not None else None


def _real(clock: TestClock | None, due: datetime | None) -> datetime | None:
    """When to look again: for a clock that is held, a little later than now at the least."""
    if due is None or clock is None:
        return due
    real = datetime.now(UTC)
    return max(clock.real(due), real + wire.LOOK_AGAIN) if clock.virtual(real) < due else real
