"""The only writer of the table `messages`: insertion and every change of a row.

A change of status is a statement that `transition` makes from the table of transitions (`journeys/gate/status.py`). It
is conditional on the statuses that it may change, so a row that was withdrawn or settled meanwhile stays as it is. A
transition that the table does not have cannot be made. Nothing is sent before its row is `sending`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, column, exists, func, update
from sqlalchemy.dialects.postgresql import JSONB, insert

from journeys.gate.status import SETTLED, TRANSITIONS, Status, check_transition, final_status
from journeys.gate.verdicts import Reason
from store.database import Connection, SqlStatement, as_json, execute, sql
from store.expressions import any_of
from store.messages.entries import LedgerEntry, status_in
from store.schema import messages

_REQUESTED: Final = (
    "run", "step", "subject_key", "recipient", "journey", "state", "visit", "action", "template", "via", "topic", "priority",
    "data", "stands", "at", "expires_at", "trace", "clock",
)  # fmt: skip
"""The columns that a request sets once."""
_DECIDED: Final = (
    "status", "reasons", "channel", "due_at", "attempts", "lease_until", "reference", "address", "address_hash", "body", "summary", "detail",
    "decided_at", "first_attempt_at", "sent_at", "settled_at", "ready_at", "merged_into",
)  # fmt: skip
"""The columns that the gate sets whenever it decides."""

_INSERT = sql(
    insert(messages)
    .values({name: bindparam(name) for name in ("key", *_REQUESTED, *_DECIDED)})
    .on_conflict_do_nothing(index_elements=[messages.c.key])
)
# The gate's decision on an entry that was read with the status `was`: any transition, which is checked before.
_UPDATE = sql(
    update(messages)
    .values({name: bindparam(name) for name in (*_DECIDED, "in_doubt")})
    .where(messages.c.key == bindparam("key"), messages.c.status == bindparam("was"))
)
_MOVE = sql(update(messages).where(messages.c.recipient == bindparam("gone")).values(recipient=bindparam("into")))


def transition(
    target: Status, sources: Collection[Status], *conditions: ColumnElement[bool], **values: Any
) -> SqlStatement:
    """A statement that changes messages from one of `sources` to `target`, and sets these values.

    Raises TransitionForbidden for a source from which there is no such transition.
    """
    for source in sources:
        check_transition(source, target)
    return sql(update(messages).where(*conditions, status_in(sources)).values(status=target, **values))


def made_due(at: ColumnElement[datetime], *conditions: ColumnElement[bool]) -> SqlStatement:
    """A statement that makes deferred messages due at `at` if they would be due later; it returns their recipients.

    These are the messages that meet the conditions and wait for one of the reasons `:codes`.
    """
    check_transition(Status.DEFERRED, Status.DEFERRED)
    return sql(
        update(messages)
        .where(*conditions, messages.c.status == Status.DEFERRED, messages.c.due_at > at, waits_for_codes())
        .values(due_at=at)
        .returning(messages.c.recipient)
    )


def waits_for_codes() -> ColumnElement[bool]:
    """Whether one of the reasons of a message has one of the codes `:codes`."""
    reason = func.jsonb_array_elements(messages.c.reasons).table_valued(column("value", JSONB), name="reason")
    return exists().select_from(reason).where(any_of(reason.c.value["code"].astext, "codes"))


_SETTLE = {
    target: transition(
        target,
        {Status.SENDING},
        messages.c.key == bindparam("key"),
        messages.c.attempts == bindparam("number"),
        detail=bindparam("detail"),
        due_at=bindparam("due"),
        lease_until=bindparam("lease"),
        attempts=bindparam("attempts"),
        first_attempt_at=bindparam("first"),
        sent_at=bindparam("sent"),
        settled_at=bindparam("now") if target in SETTLED else None,
    )
    for target in TRANSITIONS[Status.SENDING]
}
_END_QUEUED = {
    target: transition(
        target,
        {Status.DEFERRED},
        messages.c.key == bindparam("key"),
        settled_at=bindparam("at"),
        due_at=None,
        decided_at=bindparam("decided"),
        reasons=bindparam("reasons"),
    )
    for target in (Status.WITHDRAWN, Status.REPLACED, Status.UNKNOWN)
}


async def write_message(connection: Connection, entry: LedgerEntry) -> bool:
    """Insert a new row, or update one that was read for its next attempt; False if the key exists already.

    False too if the row's status has changed since it was read: a row that was withdrawn or settled meanwhile stays so.
    Raises TransitionForbidden.
    """
    check_transition(entry.was, entry.status)
    if entry.is_new:
        return await execute(connection, _INSERT, key=entry.key, **_decided(entry), **_requested(entry)) == 1
    values = {"key": entry.key, "was": entry.was, "in_doubt": entry.in_doubt, **_decided(entry)}
    written = await execute(connection, _UPDATE, **values) == 1
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
    """Write the result of an attempt; False if it was settled already, or another attempt has begun.

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
    """End a deferred message, as `unknown` if it is in doubt; False if it is not deferred any more."""
    status = final_status(status, in_doubt=entry.in_doubt)
    values = {"key": entry.key, "at": at, "decided": entry.decided_at, "reasons": _reasons(reasons)}
    if await execute(connection, _END_QUEUED[status], **values) != 1:
        return False
    entry.status = entry.was = status
    entry.due_at, entry.settled_at, entry.reasons = None, at, tuple(reasons)
    return True


async def move_to(connection: Connection, gone: str, into: str) -> None:
    """Move all messages of a visitor to the user."""
    await execute(connection, _MOVE, gone=gone, into=into)


def _decided(entry: LedgerEntry) -> dict[str, Any]:
    values = {name: getattr(entry, name) for name in _DECIDED}
    summary = as_json(entry.summary) if entry.summary is not None else None
    return values | {"reasons": _reasons(entry.reasons), "summary": summary}


def _requested(entry: LedgerEntry) -> dict[str, Any]:
    values = {name: getattr(entry, name) for name in _REQUESTED}
    return values | {"via": as_json(entry.via), "data": as_json(entry.data)}


def _reasons(reasons: Sequence[Reason]) -> str:
    values = [{"code": r.code, "text": r.text} | ({"rule": r.rule} if r.rule else {}) for r in reasons]
    return as_json(values)
