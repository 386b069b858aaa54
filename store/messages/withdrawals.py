"""Withdrawals of deferred messages: by visit, by person, by replacement."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from sqlalchemy import and_, bindparam, exists, or_, select

from journeys.decision.effects import WithdrawnMessages
from journeys.gate.requests import withdraws
from journeys.gate.status import UNSETTLED, Status
from journeys.gate.verdicts import Reason
from store.database import Connection, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.expressions import any_of
from store.messages.digests import is_digest
from store.messages.due import queued_messages
from store.messages.entries import ENTRY, LedgerEntry, entry_from_row, status_in
from store.messages.ledger import end_queued
from store.messages.outcomes import enqueue_outcome
from store.messages.reevaluation import BEHIND, make_due
from store.rows import loaded
from store.schema import messages

_deferred = ENTRY.where(messages.c.status == Status.DEFERRED).order_by(messages.c.id).with_for_update(of=messages)
_OF_RUN = sql(_deferred.where(messages.c.run == bindparam("run")))
_WITH_KEYS = sql(_deferred.add_columns(messages.c.reasons).where(any_of(messages.c.key, "keys")))
_digest = messages.alias("digest")
_in_unsettled_digest = exists().where(_digest.c.key == messages.c.merged_into, status_in(UNSETTLED, _digest.c.status))
_UNSETTLED = sql(
    select(messages.c.recipient, messages.c.stands)
    .distinct()
    .where(
        messages.c.run == bindparam("run"),
        or_(status_in(UNSETTLED), and_(messages.c.status == Status.MERGED, _in_unsettled_digest)),
    )
)


async def unsettled_recipients(connection: Connection, run_id: str) -> set[str]:
    """Recipients of a run's messages that may still be withdrawn, or are about to be decided again: to lock first."""
    rows = await fetch_all(connection, _UNSETTLED, run=run_id)
    return {row["recipient"] for row in rows if not row["stands"]}


async def withdraw_queued(
    connection: Connection, run_id: str, effect: WithdrawnMessages, at: datetime
) -> list[LedgerEntry]:
    """Withdraw the deferred messages of one visit, or of the whole run; those that were withdrawn.

    Messages in flight cannot be withdrawn. Messages behind those that are withdrawn are due again. A digest with a part of this run stays: the gate decides on it as a whole
    when it is due.
    """
    reason = Reason("withdrawn", effect.reason)
    entries = [entry_from_row(row) for row in await fetch_all(connection, _OF_RUN, run=run_id)]
    concerned = [entry for entry in entries if withdraws(effect, entry) and not is_digest(entry.key)]
    withdrawn = [entry for entry in concerned if await end_queued(connection, entry, Status.WITHDRAWN, (reason,), at)]
    await make_due(connection, {(entry.recipient, at) for entry in withdrawn}, BEHIND)
    return withdrawn


async def withdraw_from_person(
    connection: Connection,
    catalogue: DefinitionRegistry,
    person: str,
    reasons_for: Callable[[LedgerEntry], Sequence[Reason] | None],
    at: datetime,
    *,
    ended: Collection[str] = (),
) -> int:
    """Withdraw a person's queued messages for which there are reasons, and enqueue their outcomes; the count.

    Runs that have `ended` receive no outcome. Messages behind those that are withdrawn are due again.
    """
    count = 0
    for entry in await queued_messages(connection, person):
        reasons = reasons_for(entry)
        if reasons is None:
            continue
        entry.decided_at = at
        count += await end_queued(connection, entry, Status.WITHDRAWN, reasons, at)
        if entry.run not in ended:
            await enqueue_outcome(connection, catalogue, entry, entry.status, at)
    if count:
        await make_due(connection, [(person, at)], BEHIND)
    return count


async def replace_queued(connection: Connection, keys: Sequence[str], why: str, at: datetime) -> list[LedgerEntry]:
    """End deferred messages that are replaced by a more important one; those that were ended.

    The ledger keeps the reasons for which each of them waited.
    """
    replaced, reason = [], Reason("replaced", why)
    for row in await fetch_all(connection, _WITH_KEYS, keys=list(keys)):
        values = dict(row)
        waited_for = [Reason(**fields) for fields in loaded(values.pop("reasons"))]
        entry = entry_from_row(values)
        if await end_queued(connection, entry, Status.REPLACED, (*waited_for, reason), at):
            entry.reasons = (reason,)
            replaced.append(entry)
    return replaced
