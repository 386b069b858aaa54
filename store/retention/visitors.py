"""Retention of visitors of whom nothing is left, with their lanes.

Nothing has ever been in such a lane (`seq` is 0), so no run, message or task refers to it; no event of theirs is left;
and they have said nothing about consent.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from store.database import Connection, execute, fetch_one, sql
from store.retention.periods import SLICE, Slice

REFERRING: Final = {
    "events": "subject_key",
    "consents": "subject_key",
    "consent_log": "subject_key",
    "consent_requests": "subject_key",
    "holds": "subject_key",
    "tickets": "subject_key",
    "members": "person_key",
}
"""Tables that keep a visitor without anything in their lane, each with its column."""
_unreferenced = " AND ".join(
    f"NOT EXISTS (SELECT 1 FROM {table} r WHERE r.{column} = s.key)"  # noqa: S608 -- names of ours
    for table, column in REFERRING.items()
)
_PLACE = sql("SELECT after FROM retention WHERE kind = 'visitors' FOR UPDATE SKIP LOCKED")
_MOVE = sql("UPDATE retention SET after = :after WHERE kind = 'visitors'")
_PAGE_END = sql(
    "SELECT max(key) AS last FROM (SELECT key FROM subjects WHERE key > :after ORDER BY key LIMIT :most) AS page"
)
_DELETE = sql(
    f"""
    WITH nobody AS (
      SELECT s.key FROM subjects s
      WHERE s.key > :after AND s.key <= :last AND s.kind = 'user' AND s.seq = 0 AND s.merged_into IS NULL
        AND s.account_key IS NULL AND s.clock IS NULL AND s.updated_at < CAST(:before AS timestamptz)
        AND NOT EXISTS (SELECT 1 FROM identities i WHERE i.subject_key = s.key AND i.kind = 'user_id')
        AND NOT EXISTS (SELECT 1 FROM subjects v WHERE v.merged_into = s.key) AND {_unreferenced}
      FOR UPDATE OF s SKIP LOCKED
    ), names AS (DELETE FROM identities i USING nobody n WHERE i.subject_key = n.key),
    lanes_gone AS (DELETE FROM lanes l USING nobody n WHERE l.recipient = n.key),
    claims AS (DELETE FROM claimed_fields c USING nobody n WHERE c.subject_key = n.key)
    DELETE FROM subjects s USING nobody n WHERE s.key = n.key
    """  # noqa: S608 -- names of ours
)


async def prune_visitors(connection: Connection, before: datetime) -> Slice:
    """Look at the next page of people, and delete the visitors of whom nothing is left since an instant.

    One process at a time; after the last page it begins again.
    """
    place = await fetch_one(connection, _PLACE)
    if place is None:
        return Slice(0, more=False)
    end = await fetch_one(connection, _PAGE_END, after=place["after"], most=SLICE)
    last = end["last"] if end is not None else None
    await execute(connection, _MOVE, after=last or "")
    if last is None:
        return Slice(0, more=False)
    deleted = await execute(connection, _DELETE, after=place["after"], last=last, before=before)
    return Slice(deleted, more=True)
