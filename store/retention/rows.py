"""Retention of rows that are deleted oldest first."""

from __future__ import annotations

from datetime import datetime

from store.database import Connection, SqlStatement, execute, sql
from store.retention.periods import SLICE, Slice

# Its ids are in the order of arrival, and everything before the head of the table is deleted already.
_QUARANTINE = sql(
    """
    WITH page AS (SELECT id, received_at FROM quarantine ORDER BY id LIMIT :most)
    DELETE FROM quarantine q USING page WHERE q.id = page.id AND page.received_at < CAST(:before AS timestamptz)
    """
)
_DEAD_LETTERS = sql(
    """
    WITH page AS (SELECT id, recorded_at FROM dead_letters ORDER BY id LIMIT :most)
    DELETE FROM dead_letters d USING page WHERE d.id = page.id AND page.recorded_at < CAST(:before AS timestamptz)
    """
)
_CLICKS = sql(
    """
    DELETE FROM clicks WHERE (message, link) IN (
      SELECT message, link FROM clicks WHERE last_at < CAST(:before AS timestamptz)
      ORDER BY last_at LIMIT :most FOR UPDATE SKIP LOCKED)
    """
)
_MESSAGE_IDS = sql(
    """
    DELETE FROM message_ids WHERE digest IN (
      SELECT digest FROM message_ids WHERE accepted_at < CAST(:before AS timestamptz)
      ORDER BY accepted_at LIMIT :most FOR UPDATE SKIP LOCKED)
    """
)


async def prune_quarantine(connection: Connection, before: datetime) -> Slice:
    """Delete a slice of quarantined events that arrived before an instant, held ones too."""
    return await _prune(connection, _QUARANTINE, before)


async def prune_dead_letters(connection: Connection, before: datetime) -> Slice:
    """Delete a slice of dead letters that were recorded before an instant, held ones too."""
    return await _prune(connection, _DEAD_LETTERS, before)


async def prune_clicks(connection: Connection, before: datetime) -> Slice:
    """Delete a slice of counts of links that nobody has followed since an instant."""
    return await _prune(connection, _CLICKS, before)


async def prune_message_ids(connection: Connection, before: datetime) -> Slice:
    """Delete a slice of message ids of deleted events that arrived before an instant: they are accepted again."""
    return await _prune(connection, _MESSAGE_IDS, before)


async def _prune(connection: Connection, statement: SqlStatement, before: datetime) -> Slice:
    deleted = await execute(connection, statement, before=before, most=SLICE)
    return Slice(deleted, more=deleted == SLICE)
