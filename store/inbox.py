"""The in-app inbox: putting a message there is delivering it, keyed by our key, so it is there once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from store.clocks import now_for
from store.database import Connection, Database, as_json, row, rows, run, sql
from store.queries import Row, loaded

Mark = Literal["seen", "acted", "dismissed"]

_CLOCK = sql("SELECT clock FROM subjects WHERE key = :key")
_PUT = sql(
    """
    INSERT INTO inbox (key, recipient, content, created_at) VALUES (:key, :recipient, CAST(:content AS jsonb), :at)
    ON CONFLICT (key) DO NOTHING
    """
)
_LIST = sql(
    """
    SELECT id, content, created_at, seen_at, acted_at, dismissed_at FROM inbox
    WHERE recipient = ANY(CAST(:keys AS text[])) AND (NOT :waiting OR (acted_at IS NULL AND dismissed_at IS NULL))
      AND (CAST(:before AS bigint) IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit
    """
)
_ITEM = "id, recipient, content, created_at, seen_at, acted_at, dismissed_at"
_ONE = sql(f"SELECT {_ITEM} FROM inbox WHERE id = :id FOR UPDATE")  # noqa: S608 -- the columns are ours
# Who acts or dismisses has seen it; the first time counts.
_MARK: Mapping[Mark, Any] = {
    "seen": sql(f"UPDATE inbox SET seen_at = coalesce(seen_at, :at) WHERE id = :id RETURNING {_ITEM}"),  # noqa: S608
    "acted": sql(
        f"UPDATE inbox SET seen_at = coalesce(seen_at, :at), acted_at = coalesce(acted_at, :at) WHERE id = :id RETURNING {_ITEM}"  # noqa: S608
    ),
    "dismissed": sql(
        f"""UPDATE inbox SET seen_at = coalesce(seen_at, :at), dismissed_at = coalesce(dismissed_at, :at)
        WHERE id = :id RETURNING {_ITEM}"""  # noqa: S608
    ),
}


async def put(connection: Connection, key: str, recipient: str, content: Mapping[str, Any], at: datetime) -> None:
    """Deliver, in the gate's own transaction; a second time with the same key changes nothing."""
    await run(connection, _PUT, key=key, recipient=recipient, content=as_json(content), at=at)


async def list_inbox(
    connection: Connection, keys: list[str], *, waiting: bool, before: int | None, limit: int
) -> list[Row]:
    """A person's messages, the newest first; `waiting` leaves out what was acted on or dismissed."""
    found = await rows(connection, _LIST, keys=keys, waiting=waiting, before=before, limit=limit)
    return [{**item, "content": loaded(item["content"])} for item in found]


async def mark(database: Database, identity: int, what: Mark) -> tuple[Row, bool] | None:
    """Mark one message: the message, and whether that is news. None if there is no such message."""
    async with database.transaction() as connection:
        before = await row(connection, _ONE, id=identity)
        if before is None:
            return None
        at = await now_for(connection, await _clock(connection, before["recipient"]))
        after = await row(connection, _MARK[what], id=identity, at=at)
        assert after is not None
        return {**after, "content": loaded(after["content"])}, before[f"{what}_at"] is None


async def _clock(connection: Connection, recipient: str) -> str | None:
    found = await row(connection, _CLOCK, key=recipient)
    return found["clock"] if found else None
