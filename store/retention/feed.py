"""Retention of the feed: its oldest lines, with events that only they show."""

from __future__ import annotations

from datetime import datetime

from store.database import Connection, execute, fetch_one, sql
from store.retention.periods import SLICE, Slice

# The head of the table: everything before it is deleted already.
_DELETE = sql(
    """
    WITH page AS (
      SELECT id, at FROM feed ORDER BY id LIMIT :most
    ), gone AS (
      DELETE FROM feed f USING page
      WHERE f.id = page.id AND page.at < CAST(:before AS timestamptz)
        AND (NOT CAST(:pushed AS boolean) OR f.id <= (SELECT position FROM feed_push))
      RETURNING f.id, f.event
    )
    SELECT max(id) AS last, count(*) AS number, array_remove(array_agg(event), NULL) AS events FROM gone
    """
)
# A slice of events that has still seen these lines commits first: else neither would delete their events.
_HOLD_EVENTS = sql("SELECT upto FROM retention WHERE kind = 'events' FOR SHARE")
_EVENTS = sql(
    """
    DELETE FROM events e WHERE e.id = ANY(CAST(:events AS bigint[]))
      AND e.id <= (SELECT upto FROM retention WHERE kind = 'events')
      AND NOT EXISTS (SELECT 1 FROM feed f WHERE f.event = e.id)
    """
)
_DELETED = sql("UPDATE retention SET upto = greatest(upto, :last) WHERE kind = 'feed'")
_UPTO = sql("SELECT upto FROM retention WHERE kind = 'feed'")


async def prune_feed(connection: Connection, before: datetime, *, pushed: bool) -> Slice:
    """Delete a slice of lines that were written before an instant; with a receiver only those that were `pushed` to it."""
    row = await fetch_one(connection, _DELETE, before=before, pushed=pushed, most=SLICE)
    if row is None or row["last"] is None:
        return Slice(0, more=False)
    await execute(connection, _DELETED, last=row["last"])
    if row["events"]:
        await fetch_one(connection, _HOLD_EVENTS)
        await execute(connection, _EVENTS, events=row["events"])
    return Slice(row["number"], more=row["number"] == SLICE)


async def deleted_upto(connection: Connection) -> int:
    """The last line that retention has deleted; 0 if it has deleted none."""
    row = await fetch_one(connection, _UPTO)
    return int(row["upto"]) if row is not None else 0
