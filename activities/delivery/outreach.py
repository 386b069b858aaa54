"""Due messages of one person: decided again, attempted, and the next due instant."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from activities.delivery.attempts import attempt_all
from activities.delivery.recovery import expire_ambiguous, is_searchable, look_up_all, recover
from activities.dependencies import Dependencies
from activities.gate.digest import end_digest_parts
from activities.gate.evaluation import GatePass
from journeys.gate.deferral import expired
from journeys.gate.status import Status, final_status
from journeys.gate.verdicts import Reason
from journeys.protocol import wire
from store.database import Connection
from store.errors import Contended
from store.messages import due as due_store
from store.messages.digests import is_digest
from store.messages.entries import LedgerEntry
from store.messages.ledger import write_message
from store.messages.outcomes import enqueue_outcome, lock_outcome_lanes
from store.people import subjects
from store.people.subjects import Subject
from store.people.test_clocks import now_for

log = structlog.get_logger()

UNREADABLE_PAUSE: Final = timedelta(hours=1)
"""Time after which a message whose definition cannot be read is looked at again."""


@dataclass(frozen=True, slots=True)
class DueForPerson:
    """Due messages of one person. They and the `accounts` of the messages are locked; `now` is by their clock."""

    person: Subject
    accounts: Mapping[str, Subject]
    entries: list[LedgerEntry]
    now: datetime


async def settle_due(deps: Dependencies, request: wire.SettleInput, slow: Mapping[str, str]) -> wire.SettleResult:
    """Decide what is due for one person, make the attempts, and return when something is due next, as a real instant.

    Attempts with an unknown result are searched at their providers without a lock, in parallel to the attempts, on a
    test clock after them. `slow`
    has the queues of the channels that may not be tried here: if one is needed, only that queue is returned.
    """
    async with deps.database.transaction() as connection:
        if await subjects.canonical_key(connection, request.subject_key) != request.subject_key:
            return wire.SettleResult()  # a merged visitor has no messages any more
        due = await _due(connection, request)
        queue = _queue(due.entries, slow)
        if queue is not None:
            return wire.SettleResult(queue=queue)
        attempts, lost = await _decide(deps, connection, due)
    searches = look_up_all(deps, lost, due.now)
    if due.person.clock is None:
        await asyncio.gather(attempt_all(deps, attempts, due.now), searches)
    else:
        await attempt_all(deps, attempts, due.now)
        await searches
    async with deps.database.transaction() as connection:
        return wire.SettleResult(await _next(deps, connection, request))


async def _due(connection: Connection, request: wire.SettleInput) -> DueForPerson:
    locked = await lock_outcome_lanes(
        connection, request.subject_key, await subjects.account_of(connection, request.subject_key)
    )
    person = locked[request.subject_key]
    now = await now_for(connection, person.clock)
    if person.account_key is not None and person.account_key not in locked:
        raise Contended  # the person was put into another account after the account was read
    due = await due_store.due_messages(connection, person.key, now, request.message)
    return DueForPerson(person, locked, due, now)


def _queue(entries: Iterable[LedgerEntry], slow: Mapping[str, str]) -> str | None:
    return next((slow[channel] for entry in entries for channel in entry.via if channel in slow), None)


async def _decide(
    deps: Dependencies, connection: Connection, due: DueForPerson
) -> tuple[list[LedgerEntry], list[LedgerEntry]]:
    """Decide all of it in one pass; the messages to attempt now, and those to search at their provider first."""
    requested, lost = list[LedgerEntry](), list[LedgerEntry]()
    gate_pass = GatePass(deps, connection, due.person, due.accounts, due.now)
    for entry in due.entries:
        if entry.status is Status.SENDING and is_searchable(deps, entry):
            lost.append(entry)
            continue
        if entry.status is Status.SENDING and not await recover(deps, connection, entry, due.now):
            continue
        if await expire_ambiguous(deps, connection, entry, due.now):
            continue
        if await deps.catalogue.readable(connection, entry.definition) is None:
            await _without_definition(deps, connection, entry, due.now)
            continue
        await gate_pass.add(entry)
        requested.append(entry)
    attempts = await gate_pass.decide()
    for entry in requested:
        outcome = gate_pass.outcome(entry)
        if entry.key not in gate_pass.gave_way and outcome is not None:
            await enqueue_outcome(connection, deps.catalogue, entry, outcome, due.now)
    for entry in gate_pass.gave_way.values():
        await enqueue_outcome(connection, deps.catalogue, entry, Status.REPLACED, due.now)
    return attempts, lost


async def _without_definition(deps: Dependencies, connection: Connection, entry: LedgerEntry, now: datetime) -> None:
    """Leave a message for a version that can read its definition, until it expires. The person's others are decided."""
    too_late = expired(deps.policy, entry, now)
    if too_late is not None:
        await _withhold(deps, connection, entry, too_late, now)
        return
    entry.status, entry.due_at, entry.lease_until = Status.DEFERRED, now + UNREADABLE_PAUSE, None
    entry.reasons = (Reason("unreadable", "this version of Tenure cannot read the journey's definition"),)
    await write_message(connection, entry)


async def _withhold(
    deps: Dependencies, connection: Connection, entry: LedgerEntry, reason: Reason, now: datetime
) -> None:
    entry.status = final_status(Status.WITHHELD, in_doubt=entry.in_doubt)
    entry.due_at, entry.lease_until, entry.settled_at, entry.reasons = None, None, now, (reason,)
    await write_message(connection, entry)
    if is_digest(entry.key):
        await end_digest_parts(connection, entry, now)
    await enqueue_outcome(connection, deps.catalogue, entry, entry.status, now)


async def _next(deps: Dependencies, connection: Connection, request: wire.SettleInput) -> str | None:
    due, lease = await due_store.next_message_due(connection, request.subject_key)
    clock = await subjects.clock_name_of(connection, request.subject_key)
    at = deps.settle_at(request, clock, due, lease)
    return at.isoformat() if at is not None else None
