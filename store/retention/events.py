"""Retention of events: their message ids are kept before they are deleted.

Ingestion decides by one statement whether an id is new. Such a statement may have begun before the id was kept here, and would
accept it again once the event is gone; so an event is deleted only when no such statement runs any more.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from store.database import Connection, execute, fetch_one, sql
from store.retention.periods import SLICE, UNSEEN, Slice

MOST_KEPT: Final = 200_000
"""Ids that are kept before their events are deleted."""

_PLACE = sql(
    """
    SELECT upto, kept_upto, coalesce(kept_at < clock_timestamp() - CAST(:unseen AS interval), true) AS seen
    FROM retention WHERE kind = 'events' FOR UPDATE SKIP LOCKED
    """
)
# The digest is `id_digest` of `store/events/message_ids.py`; a test compares both.
_KEEP = sql(
    r"""
    WITH page AS (
      SELECT id, source, message_id, content, received_at FROM events WHERE id > :after ORDER BY id LIMIT :most
    ), old AS (
      SELECT * FROM page WHERE NOT EXISTS (
        SELECT 1 FROM page AS kept WHERE kept.id <= page.id AND kept.received_at >= CAST(:before AS timestamptz))
    ), ids AS (
      INSERT INTO message_ids (digest, content, accepted_at)
      SELECT substr(sha256(convert_to(source, 'UTF8') || CAST('\x00' AS bytea) || convert_to(message_id, 'UTF8')), 1, 16),
             content, received_at FROM old
      ON CONFLICT DO NOTHING
    )
    SELECT max(id) AS last, count(*) AS number FROM old
    """
)
_KEPT = sql("UPDATE retention SET kept_upto = :last, kept_at = clock_timestamp() WHERE kind = 'events'")
# A reaction in the feed shows its event: that one goes with its line (`store/retention/feed.py`).
_DELETE = sql(
    """
    WITH page AS (
      SELECT id FROM events WHERE id > :upto AND id <= :kept ORDER BY id LIMIT :most
    ), gone AS (
      DELETE FROM events e USING page WHERE e.id = page.id AND NOT EXISTS (SELECT 1 FROM feed f WHERE f.event = e.id)
      RETURNING e.id
    )
    SELECT (SELECT max(id) FROM page) AS last, (SELECT count(*) FROM gone) AS number
    """
)
_DELETED = sql("UPDATE retention SET upto = :last WHERE kind = 'events'")


async def prune_events(connection: Connection, before: datetime, *, unseen: timedelta = UNSEEN) -> Slice:
    """Delete a slice of events that were received before an instant, or keep the message ids of the next ones.

    One process at a time; the others do nothing.
    """
    place = await fetch_one(connection, _PLACE, unseen=unseen)
    if place is None:
        return Slice(0, more=False)
    if place["upto"] < place["kept_upto"] and place["seen"]:
        return await _delete(connection, place["upto"], place["kept_upto"])
    if place["kept_upto"] - place["upto"] >= MOST_KEPT:
        return Slice(0, more=False)
    kept = await fetch_one(connection, _KEEP, after=place["kept_upto"], before=before, most=SLICE)
    if kept is None or kept["last"] is None:
        return Slice(0, more=False)
    await execute(connection, _KEPT, last=kept["last"])
    return Slice(0, more=True)


async def _delete(connection: Connection, upto: int, kept: int) -> Slice:
    row = await fetch_one(connection, _DELETE, upto=upto, kept=kept, most=SLICE)
    assert row is not None
    await execute(connection, _DELETED, last=kept if row["last"] is None else row["last"])
    return Slice(row["number"], more=True)
