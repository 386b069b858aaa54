"""What reached a run and could not be read there: listed for a person, who discards what was looked at."""

from __future__ import annotations

from store.database import Connection, fetch_all, fetch_one, sql
from store.rows import RowDict

_COLUMNS = "id, run, step, name, reason, payload, recorded_at, status"
_LIST = sql(
    f"""
    SELECT {_COLUMNS} FROM dead_letters WHERE status = :status AND (CAST(:run AS text) IS NULL OR run = :run) AND id > :after
    ORDER BY id LIMIT :limit
    """  # noqa: S608 -- the columns are ours
)
_DISCARD = sql(
    f"UPDATE dead_letters SET status = 'discarded' WHERE id = :id RETURNING {_COLUMNS}"  # noqa: S608
)


async def list_dead_letters(
    connection: Connection, *, status: str, run: str | None, after: int, limit: int
) -> list[RowDict]:
    """Tombstones in the order in which they were recorded."""
    return [dict(item) for item in await fetch_all(connection, _LIST, status=status, run=run, after=after, limit=limit)]


async def discard_dead_letter(connection: Connection, identity: int) -> RowDict | None:
    """Looked at and done with; None if there is no such row. Doing it twice is doing it once."""
    found = await fetch_one(connection, _DISCARD, id=identity)
    return dict(found) if found else None
