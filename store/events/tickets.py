"""Urgent tickets of people and accounts, which the gate reads (C6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Text, bindparam, case, delete, func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from journeys.gate.tickets import TicketTimes, UrgentTicket
from store.database import Connection, execute, fetch_one, sql
from store.messages import reevaluation
from store.retention.periods import SLICE, Slice
from store.schema import clocks, subjects, tickets
from store.schema.base import Timestamp

_READ = sql(
    select(tickets.c.opened_at, tickets.c.resolved_at).where(
        tickets.c.subject_key == bindparam("subject"), tickets.c.ticket_id == bindparam("ticket")
    )
)
_written = insert(tickets).values(
    subject_key=bindparam("subject"),
    ticket_id=bindparam("ticket"),
    opened_at=bindparam("opened"),
    resolved_at=bindparam("resolved"),
    ends_at=bindparam("ends"),
)
_WRITE = sql(
    _written.on_conflict_do_update(
        index_elements=[tickets.c.subject_key, tickets.c.ticket_id],
        set_={name: _written.excluded[name] for name in ("opened_at", "resolved_at", "ends_at")},
    )
)
# The statement's instant, since an index does not compare with `clock_timestamp`, which is volatile.
_OLDEST = sql(
    select((func.statement_timestamp() - func.min(tickets.c.opened_at)).label("age"))
    .join_from(tickets, subjects, subjects.c.key == tickets.c.subject_key)
    .where(tickets.c.resolved_at.is_(None), tickets.c.ends_at > func.statement_timestamp(), subjects.c.clock.is_(None))
)
_now = func.coalesce(clocks.c.now, func.statement_timestamp())
"""The now of a ticket's subject."""
_over = (
    select(tickets.c.subject_key, tickets.c.ticket_id)
    .join_from(tickets, subjects, subjects.c.key == tickets.c.subject_key)
    .outerjoin(clocks, clocks.c.id == subjects.c.clock)
    .where(
        tickets.c.ends_at <= _now,
        or_(
            tickets.c.resolved_at.is_(None),
            tickets.c.resolved_at <= _now - (func.statement_timestamp() - bindparam("before", type_=Timestamp)),
        ),
    )
    .order_by(tickets.c.ends_at)
    .limit(bindparam("most"))
    .with_for_update(of=tickets, skip_locked=True)
    .cte("over")
)
_PRUNE = sql(
    delete(tickets).where(
        tuple_(tickets.c.subject_key, tickets.c.ticket_id).in_(select(_over.c.subject_key, _over.c.ticket_id))
    )
)
_moved = insert(tickets).from_select(
    ["subject_key", "ticket_id", "opened_at", "resolved_at", "ends_at"],
    select(
        bindparam("into", type_=Text),
        tickets.c.ticket_id,
        tickets.c.opened_at,
        tickets.c.resolved_at,
        tickets.c.ends_at,
    ).where(tickets.c.subject_key == bindparam("gone")),
)
_latest = {
    name: func.greatest(tickets.c[name], _moved.excluded[name]) for name in ("opened_at", "resolved_at", "ends_at")
}
_MOVE = sql(
    _moved.on_conflict_do_update(
        index_elements=[tickets.c.subject_key, tickets.c.ticket_id],
        set_={
            **_latest,
            # The rule is `journeys.gate.tickets.merged`; a test compares both.
            "resolved_at": case((_latest["resolved_at"] >= _latest["opened_at"], _latest["resolved_at"])),
        },
    )
)


async def record_ticket(
    connection: Connection,
    rules: UrgentTicket,
    name: str,
    data: Mapping[str, Any],
    subjects: Sequence[str],
    at: datetime,
    now: datetime,
) -> None:
    """Store a ticket signal for a person and their account; decide again what a resolved ticket held (C6).

    `at` is when it happened, `now` the instant of the decision. Of signals that arrive in another order the later one counts.
    """
    ticket = rules.ticket_in(data)
    if ticket is None:
        return
    ended = []
    for subject in subjects:
        before = await _times(connection, subject, ticket)
        tickets_of = {} if before is None else {ticket: before}
        after = rules.after(tickets_of, name, data, at)
        if after is tickets_of:
            continue
        times = after[ticket]
        ends = rules.longest.after(times.opened_at)
        await execute(
            connection,
            _WRITE,
            subject=subject,
            ticket=ticket,
            opened=times.opened_at,
            resolved=times.resolved_at,
            ends=ends,
        )
        if before is not None and before.is_open and not times.is_open:
            ended.append(subject)
    if ended:
        await reevaluation.make_due(connection, [(subject, now) for subject in subjects], reevaluation.TICKET)


async def _times(connection: Connection, subject: str, ticket: str) -> TicketTimes | None:
    row = await fetch_one(connection, _READ, subject=subject, ticket=ticket)
    return TicketTimes(row["opened_at"], row["resolved_at"]) if row is not None else None


async def oldest_open(connection: Connection) -> timedelta:
    """Age of the oldest urgent ticket that holds messages, of subjects on no test clock; zero if none does."""
    row = await fetch_one(connection, _OLDEST)
    return row["age"] if row is not None and row["age"] is not None else timedelta()


async def prune_tickets(connection: Connection, before: datetime) -> Slice:
    """Delete a slice of tickets that change nothing any more, those that ended first.

    A resolution is kept for the longest time of a ticket, until `before` (on a test clock for as long by its now): an
    opening that it ends, and that arrives later still, would be over by itself. Resolutions are stored of all tickets, as
    that of an urgent one may come before its opening.
    """
    deleted = await execute(connection, _PRUNE, before=before, most=SLICE)
    return Slice(deleted, more=deleted == SLICE)


async def move_to(connection: Connection, gone: str, into: str) -> None:
    """Move a visitor's tickets to the user. A ticket of both becomes one, by the rule of `merged`."""
    await execute(connection, _MOVE, gone=gone, into=into)
