"""Open urgent tickets of people and accounts: kept from the help desk's signals, read by the gate (C6)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from store.database import Connection, rows, run, sql

OPENED: Final = frozenset({"ticket_opened", "ticket_reopened"})
RESOLVED: Final = "ticket_resolved"
URGENT: Final = "urgent"

_OPEN = sql(
    """
    INSERT INTO tickets (subject_key, ticket_id, opened_at) VALUES (:subject, :ticket, :at)
    ON CONFLICT (subject_key, ticket_id) DO UPDATE SET resolved_at = NULL
    """
)
_RESOLVE = sql(
    "UPDATE tickets SET resolved_at = :at WHERE subject_key = :subject AND ticket_id = :ticket AND resolved_at IS NULL"
)
_HELD = sql(
    """
    UPDATE messages SET due_at = :at WHERE status = 'deferred' AND due_at > :at AND reasons @> '[{"code": "urgent_ticket"}]'
      AND recipient IN (SELECT key FROM subjects WHERE key = ANY(CAST(:subjects AS text[]))
                        OR account_key = ANY(CAST(:subjects AS text[])))
    RETURNING recipient
    """
)


async def note_ticket(
    connection: Connection, name: str, data: dict[str, Any], subjects: Sequence[str], at: datetime
) -> list[str]:
    """Keep one ticket signal, for the person and their account; the people whose held messages may be weighed again."""
    ticket = data.get("ticket_id")
    if not isinstance(ticket, str | int):
        return []
    if name in OPENED and data.get("priority") == URGENT:
        for subject in subjects:
            await run(connection, _OPEN, subject=subject, ticket=str(ticket), at=at)
        return []
    if name != RESOLVED:
        return []
    resolved = [await run(connection, _RESOLVE, subject=subject, ticket=str(ticket), at=at) for subject in subjects]
    if not any(resolved):
        return []
    return sorted({item["recipient"] for item in await rows(connection, _HELD, subjects=list(subjects), at=at)})
