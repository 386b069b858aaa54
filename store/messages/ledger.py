"""The only writer of the table `messages`: insertion and every change of a row.

A change of status is a statement that `transition` makes from the table of transitions (`journeys/gate/status.py`): it asks
for the statuses that it may change, so a row that was withdrawn or settled meanwhile stays as it is. A statement for a
transition that the table does not have cannot be made. Nothing leaves before its row says `sending`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from journeys.gate.status import SETTLED, TRANSITIONS, Status, check_transition, final_status
from journeys.gate.verdicts import Reason
from store.database import Connection, SqlStatement, as_json, execute, sql
from store.messages.entries import LedgerEntry, listed

_INSERT = sql(
    """
    INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, topic,
      priority, data, stands, at, expires_at, status, reasons, channel, due_at, attempts, lease_until, reference, address,
      body, summary, detail, decided_at, first_attempt_at, sent_at, settled_at, ready_at, merged_into, trace)
    VALUES (:key, :run, :step, :subject, :recipient, :journey, :state, :visit, :action, :template, CAST(:via AS jsonb),
      :topic, :priority, CAST(:data AS jsonb), :stands, :at, :expires, :status, CAST(:reasons AS jsonb), :channel, :due,
      :attempts, :lease, :reference, :address, :body, CAST(:summary AS jsonb), :detail, :decided, :first,
      :sent, :settled, :ready, :merged, :trace)
    ON CONFLICT (key) DO NOTHING
    """
)
_MOVE = sql("UPDATE messages SET recipient = :into WHERE recipient = :gone")


def transition(
    target: Status, sources: Collection[Status], *, values: str, where: str, returning: str = ""
) -> SqlStatement:
    """A statement that gives messages with a status of `sources` the status `target`, and these values.

    Raises TransitionForbidden for a source from which no message may go there.
    """
    for source in sources:
        check_transition(source, target)
    return sql(
        f"UPDATE messages SET status = '{target}', {values} WHERE {where} AND status IN {listed(sources)}"  # noqa: S608
        + (f" RETURNING {returning}" if returning else "")
    )


def made_due(at: str, *, people: str, where: str) -> SqlStatement:
    """A statement that makes deferred messages due at `at` which would be later; it returns their recipients.

    They are those that wait for one of the reasons `:codes`, of recipients that `people` (a FROM clause or nothing) and `where`
    name. `m` is the message.
    """
    check_transition(Status.DEFERRED, Status.DEFERRED)
    return sql(
        f"""
        UPDATE messages m SET due_at = {at} {people}
        WHERE {where} AND m.status = '{Status.DEFERRED}' AND m.due_at > {at} AND EXISTS
          (SELECT 1 FROM jsonb_array_elements(m.reasons) r WHERE r->>'code' = ANY(CAST(:codes AS text[])))
        RETURNING m.recipient
        """  # noqa: S608 -- the callers' clauses are ours
    )


# What the gate has decided of an entry that was read with the status `was`: any transition, which is checked before.
_UPDATE = sql(
    """
    UPDATE messages SET status = :status, reasons = CAST(:reasons AS jsonb), channel = :channel, due_at = :due,
      attempts = :attempts, lease_until = :lease, reference = :reference, address = :address, body = :body,
      summary = CAST(:summary AS jsonb), detail = :detail, decided_at = :decided, first_attempt_at = :first, sent_at = :sent,
      settled_at = :settled, ready_at = :ready, merged_into = :merged, in_doubt = :doubt
    WHERE key = :key AND status = :was
    """
)
_SETTLE = {
    target: transition(
        target,
        {Status.SENDING},
        values=f"""detail = :detail, due_at = :due, lease_until = :lease, attempts = :attempts, first_attempt_at = :first,
          sent_at = :sent, settled_at = {"CAST(:now AS timestamptz)" if target in SETTLED else "NULL"}""",
        where="key = :key AND attempts = :number",
    )
    for target in TRANSITIONS[Status.SENDING]
}
_END_QUEUED = {
    target: transition(
        target,
        {Status.DEFERRED},
        values="settled_at = :at, due_at = NULL, decided_at = :decided, reasons = CAST(:reasons AS jsonb)",
        where="key = :key",
    )
    for target in (Status.WITHDRAWN, Status.REPLACED, Status.UNKNOWN)
}


async def write_message(connection: Connection, entry: LedgerEntry) -> bool:
    """Insert a new row, or update one that was read for its next attempt; False if the key was there already.

    False too if the row is not what it was when it was read: what was withdrawn or settled meanwhile stays so.
    Raises TransitionForbidden.
    """
    check_transition(entry.was, entry.status)
    if entry.is_new:
        return await execute(connection, _INSERT, **_decided(entry), **_requested(entry)) == 1
    written = await execute(connection, _UPDATE, **_decided(entry), doubt=entry.in_doubt, was=entry.was) == 1
    entry.was = entry.status if written else entry.was
    return written


async def settle_attempt(
    connection: Connection,
    entry: LedgerEntry,
    status: Status,
    *,
    detail: str,
    attempts: int,
    first_attempt_at: datetime | None,
    sent_at: datetime | None,
    now: datetime,
    due_at: datetime | None = None,
    lease_until: datetime | None = None,
) -> bool:
    """Write what an attempt has made of its message; False if somebody else settled it, or began another.

    The attempt is named by its number, `entry.attempts`; `attempts` is how many were made.
    """
    written = await execute(
        connection,
        _SETTLE[status],
        key=entry.key,
        number=entry.attempts,
        detail=detail,
        attempts=attempts,
        first=first_attempt_at,
        sent=sent_at,
        due=due_at,
        lease=lease_until,
        **({"now": now} if status in SETTLED else {}),
    )
    return written == 1


async def end_queued(
    connection: Connection, entry: LedgerEntry, status: Status, reasons: Sequence[Reason], at: datetime
) -> bool:
    """End a deferred message, as `unknown` where it is in doubt; False if it is not deferred any more."""
    status = final_status(status, in_doubt=entry.in_doubt)
    values = {"key": entry.key, "at": at, "decided": entry.decided_at, "reasons": _reasons(reasons)}
    if await execute(connection, _END_QUEUED[status], **values) != 1:
        return False
    entry.status = entry.was = status
    entry.due_at, entry.settled_at, entry.reasons = None, at, tuple(reasons)
    return True


async def move_to(connection: Connection, gone: str, into: str) -> None:
    """Give all messages of one person to another one, whom they turned out to be."""
    await execute(connection, _MOVE, gone=gone, into=into)


def _decided(entry: LedgerEntry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "status": entry.status,
        "reasons": _reasons(entry.reasons),
        "channel": entry.channel,
        "due": entry.due_at,
        "attempts": entry.attempts,
        "lease": entry.lease_until,
        "reference": entry.reference,
        "address": entry.address,
        "body": entry.body,
        "summary": as_json(entry.summary) if entry.summary is not None else None,
        "detail": entry.detail,
        "decided": entry.decided_at,
        "first": entry.first_attempt_at,
        "sent": entry.sent_at,
        "settled": entry.settled_at,
        "ready": entry.ready_at,
        "merged": entry.merged_into,
    }


def _requested(entry: LedgerEntry) -> dict[str, Any]:
    return {
        "run": entry.run,
        "step": entry.step,
        "subject": entry.subject_key,
        "recipient": entry.recipient,
        "journey": entry.journey,
        "state": entry.state,
        "visit": entry.visit,
        "action": entry.action,
        "template": entry.template,
        "via": as_json(entry.via),
        "topic": entry.topic,
        "priority": entry.priority,
        "data": as_json(entry.data),
        "stands": entry.stands,
        "at": entry.at,
        "expires": entry.expires_at,
        "trace": entry.trace,
    }


def _reasons(reasons: Sequence[Reason]) -> str:
    values = [{"code": r.code, "text": r.text} | ({"rule": r.rule} if r.rule else {}) for r in reasons]
    return as_json(values)
