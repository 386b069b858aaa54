"""Due messages of a person: deferred, lease expired, or queued for a withdrawal."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from journeys.gate.requests import MESSAGES_PER_PASS
from journeys.gate.status import UNSETTLED, Status
from journeys.language.actions import PRIORITIES
from store.database import Connection, fetch_all, fetch_one, sql
from store.messages.digests import DIGEST_PREFIX
from store.messages.entries import ENTRY, FROM_RUNS, LedgerEntry, entry_from_row, listed
from store.rows import loaded

_DUE = sql(
    f"""
    {ENTRY}, CASE WHEN m.key LIKE '{DIGEST_PREFIX}%' THEN (
        SELECT jsonb_agg(jsonb_build_array(p.state, p.visit, p.stands, o.status = 'open', o.state, o.visit))
        FROM messages p JOIN runs o ON o.id = p.run WHERE p.merged_into = m.key) END AS parts
    {FROM_RUNS}
    WHERE m.recipient = :person
      AND ((m.status = '{Status.DEFERRED}' AND m.due_at <= :now)
        OR (m.status = '{Status.SENDING}' AND m.lease_until <= clock_timestamp()))
    ORDER BY array_position(CAST(:order AS text[]), m.priority), m.due_at, m.id LIMIT {MESSAGES_PER_PASS}
    """  # noqa: S608 -- the statuses are ours
)
_QUEUED = sql(
    f"""
    {ENTRY} {FROM_RUNS}
    WHERE m.recipient = :person AND m.status = '{Status.DEFERRED}' AND m.key NOT LIKE '{DIGEST_PREFIX}%'
    ORDER BY m.id FOR UPDATE OF m
    """
)
_NEXT = sql(
    f"""
    SELECT min(due_at) FILTER (WHERE status = '{Status.DEFERRED}') AS due,
      min(lease_until) FILTER (WHERE status = '{Status.SENDING}') AS lease
    FROM messages WHERE recipient = :person AND status IN {listed(UNSETTLED)}
    """  # noqa: S608 -- the statuses are ours
)
_LANES = sql(
    f"""
    SELECT r.lane {FROM_RUNS} WHERE m.recipient = :person AND m.status IN {listed(UNSETTLED)}
    UNION SELECT r.lane FROM messages m JOIN messages p ON p.merged_into = m.key JOIN runs r ON r.id = p.run
    WHERE m.recipient = :person AND m.status IN {listed(UNSETTLED)} AND m.key LIKE '{DIGEST_PREFIX}%'
    """  # noqa: S608 -- the statuses are ours
)
_UNSETTLED = sql(
    f"SELECT 1 FROM messages WHERE recipient = :person AND status IN {listed(UNSETTLED)} LIMIT 1"  # noqa: S608 -- ours
)


async def due_messages(connection: Connection, person: str, now: datetime) -> list[LedgerEntry]:
    """What is to be decided again for a person: deferred rows due by `now`, attempts whose lease has run out.

    The more pressing first (C6): of what waited for one thing it takes the last place under a cap.
    """
    rows = await fetch_all(connection, _DUE, person=person, now=now, order=list(PRIORITIES))
    return [_due_entry(dict(row)) for row in rows]


async def queued_messages(connection: Connection, person: str) -> list[LedgerEntry]:
    """Deferred messages of a person, locked; no digest, which may have arrived: the gate decides on it when it is due."""
    return [entry_from_row(row) for row in await fetch_all(connection, _QUEUED, person=person)]


async def next_message_due(connection: Connection, person: str) -> tuple[datetime | None, datetime | None]:
    """The earliest deferred row (the person's clock) and the earliest lease (the real clock)."""
    row = await fetch_one(connection, _NEXT, person=person)
    return (row["due"], row["lease"]) if row else (None, None)


async def has_unsettled(connection: Connection, person: str) -> bool:
    """Whether any message of a person waits or is in flight."""
    return await fetch_one(connection, _UNSETTLED, person=person) is not None


async def lanes_of_unsettled(connection: Connection, person: str) -> set[str]:
    """The lanes of the runs that have asked for a person's unsettled messages."""
    return {row["lane"] for row in await fetch_all(connection, _LANES, person=person)}


def _due_entry(row: dict[str, Any]) -> LedgerEntry:
    parts = row.pop("parts")
    return entry_from_row(row, loaded(parts) if parts is not None else None)
