"""Urgent tickets of people and accounts, which the gate reads (C6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Text, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from journeys.gate.policy import UrgentTicket
from store.database import Connection, execute, sql
from store.messages import reevaluation
from store.schema import tickets

_OPEN = sql(
    insert(tickets)
    .values(subject_key=bindparam("subject"), ticket_id=bindparam("ticket"), opened_at=bindparam("at"))
    .on_conflict_do_update(index_elements=[tickets.c.subject_key, tickets.c.ticket_id], set_={"resolved_at": None})
)
_RESOLVE = sql(
    update(tickets)
    .where(
        tickets.c.subject_key == bindparam("subject"),
        tickets.c.ticket_id == bindparam("ticket"),
        tickets.c.resolved_at.is_(None),
    )
    .values(resolved_at=bindparam("at"))
)
_moved = insert(tickets).from_select(
    ["subject_key", "ticket_id", "opened_at", "resolved_at"],
    select(bindparam("into", type_=Text), tickets.c.ticket_id, tickets.c.opened_at, tickets.c.resolved_at).where(
        tickets.c.subject_key == bindparam("gone")
    ),
)
_MOVE = sql(
    _moved.on_conflict_do_update(
        index_elements=[tickets.c.subject_key, tickets.c.ticket_id],
        set_={"resolved_at": func.coalesce(tickets.c.resolved_at, _moved.excluded.resolved_at)},
    )
)


async def record_ticket(
    connection: Connection,
    rules: UrgentTicket,
    name: str,
    data: Mapping[str, Any],
    subjects: Sequence[str],
    at: datetime,
) -> None:
    """Store a ticket signal for a person and their account; decide again what a resolved ticket held (C6)."""
    opened = rules.open_after(frozenset(), name, data)
    for ticket in opened:
        for subject in subjects:
            await execute(connection, _OPEN, subject=subject, ticket=ticket, at=at)
    if opened or name not in rules.resolved_by:
        return
    ticket = str(data.get("ticket_id"))
    if any([await execute(connection, _RESOLVE, subject=subject, ticket=ticket, at=at) for subject in subjects]):
        await reevaluation.make_due(connection, [(subject, at) for subject in subjects], reevaluation.TICKET)


async def move_to(connection: Connection, gone: str, into: str) -> None:
    """Move a visitor's tickets to the user. A ticket of both is resolved if it was resolved for one."""
    await execute(connection, _MOVE, gone=gone, into=into)
