"""Open urgent tickets of people and accounts: kept from the help desk's signals, read by the gate (C6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from journeys.gate.policy import UrgentTicket
from store.database import Connection, execute, sql
from store.messages import reevaluation

_OPEN = sql(
    """
    INSERT INTO tickets (subject_key, ticket_id, opened_at) VALUES (:subject, :ticket, :at)
    ON CONFLICT (subject_key, ticket_id) DO UPDATE SET resolved_at = NULL
    """
)
_RESOLVE = sql(
    "UPDATE tickets SET resolved_at = :at WHERE subject_key = :subject AND ticket_id = :ticket AND resolved_at IS NULL"
)
_MOVE = sql(
    """
    INSERT INTO tickets (subject_key, ticket_id, opened_at, resolved_at)
    SELECT :into, ticket_id, opened_at, resolved_at FROM tickets WHERE subject_key = :gone
    ON CONFLICT (subject_key, ticket_id)
    DO UPDATE SET resolved_at = coalesce(tickets.resolved_at, excluded.resolved_at)
    """
)


async def record_ticket(
    connection: Connection,
    rules: UrgentTicket,
    name: str,
    data: Mapping[str, Any],
    subjects: Sequence[str],
    at: datetime,
) -> None:
    """Keep one ticket signal, for the person and their account; when it is resolved, what it held is decided again (C6)."""
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
    """Give a visitor's tickets to the user. One that both have is one: what resolved it for one resolved it."""
    await execute(connection, _MOVE, gone=gone, into=into)
