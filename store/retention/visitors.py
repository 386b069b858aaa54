"""Retention of visitors of whom nothing is left: marked, then deleted with their lanes.

Nothing has ever been in such a lane (`seq` is 0), so no run, message or task refers to it; no event of theirs is left;
and they have said nothing about consent.

An event that can change nothing locks nobody, so it may be on its way to a visitor whom nothing refers to yet. Who names a
visitor that is marked locks them (`store/events/locking.py`). A marked visitor is deleted when no transaction runs any more
that began before the mark. They are locked first and looked at in a second statement, which sees what was committed before.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from store.database import Connection, execute, fetch_all, fetch_one, sql
from store.retention.periods import SLICE, UNSEEN, Slice

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
_nothing_left = f"""
    s.kind = 'user' AND s.seq = 0 AND s.merged_into IS NULL
    AND s.account_key IS NULL AND s.clock IS NULL AND s.updated_at < CAST(:before AS timestamptz)
    AND NOT EXISTS (SELECT 1 FROM identities i WHERE i.subject_key = s.key AND i.kind = 'user_id')
    AND NOT EXISTS (SELECT 1 FROM subjects v WHERE v.merged_into = s.key) AND {_unreferenced}
    """  # noqa: S608 -- names of ours
_PLACE = sql("SELECT after FROM retention WHERE kind = 'visitors' FOR UPDATE SKIP LOCKED")
_MOVE = sql("UPDATE retention SET after = :after WHERE kind = 'visitors'")
_PAGE_END = sql(
    "SELECT max(key) AS last FROM (SELECT key FROM subjects WHERE key > :after ORDER BY key LIMIT :most) AS page"
)
_LOCK_MARKED = sql(
    """
    SELECT s.key FROM subjects s
    WHERE s.key > :after AND s.key <= :last AND s.leaving_since < statement_timestamp() - CAST(:unseen AS interval)
    FOR UPDATE SKIP LOCKED
    """
)
_DELETE = sql(
    f"""
    WITH nobody AS (SELECT s.key FROM subjects s WHERE s.key = ANY(CAST(:keys AS text[])) AND {_nothing_left}),
    names AS (DELETE FROM identities i USING nobody n WHERE i.subject_key = n.key),
    lanes_gone AS (DELETE FROM lanes l USING nobody n WHERE l.recipient = n.key),
    claims AS (DELETE FROM claimed_fields c USING nobody n WHERE c.subject_key = n.key)
    DELETE FROM subjects s USING nobody n WHERE s.key = n.key
    """  # noqa: S608 -- names of ours
)
_UNMARK = sql("UPDATE subjects SET leaving_since = NULL WHERE key = ANY(CAST(:keys AS text[]))")
_MARK = sql(
    f"""
    WITH nobody AS (
      SELECT s.key FROM subjects s
      WHERE s.key > :after AND s.key <= :last AND s.leaving_since IS NULL AND {_nothing_left}
      FOR NO KEY UPDATE OF s SKIP LOCKED
    )
    UPDATE subjects s SET leaving_since = clock_timestamp() FROM nobody n WHERE s.key = n.key
    """  # noqa: S608 -- names of ours
)


async def prune_visitors(connection: Connection, before: datetime, *, unseen: timedelta = UNSEEN) -> Slice:
    """Look at the next page of people: delete visitors marked before, of whom nothing is left since an instant; mark others.

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
    page = {"after": place["after"], "last": last}
    marked = [row["key"] for row in await fetch_all(connection, _LOCK_MARKED, **page, unseen=unseen)]
    deleted = await execute(connection, _DELETE, keys=marked, before=before) if marked else 0
    if deleted < len(marked):
        await execute(connection, _UNMARK, keys=marked)
    await execute(connection, _MARK, **page, before=before)
    return Slice(deleted, more=True)
