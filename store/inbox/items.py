"""The in-app inbox: putting a message there is delivering it, keyed by our key, so it is there once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from store.database import Connection, as_json, execute, fetch_all, fetch_one, sql
from store.inbox import checklists
from store.rows import RowDict, loaded

CHANNEL: Final = "tenure_inbox"
"""What a change is told on; the payload is the recipient's key."""
MOST: Final = 200
"""Messages read at once for somebody who looks on."""

CHANGED: Final = "changed = CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
# Inserting and telling who looks on are one statement: they are told at commit.
_PUT = sql(
    f"""
    WITH put AS (
      INSERT INTO inbox (key, recipient, content, place, created_at)
      VALUES (:key, :recipient, CAST(:content AS jsonb), :place, :at) ON CONFLICT (key) DO NOTHING RETURNING recipient)
    SELECT pg_notify('{CHANNEL}', recipient) FROM put
    """  # noqa: S608 -- the channel is ours
)
_COLUMNS = f"""
    i.id, i.content, i.created_at, i.seen_at, i.acted_at, i.dismissed_at, {checklists.TICKS} AS ticks
    FROM inbox i WHERE i.recipient = ANY(CAST(:keys AS text[]))
"""
_LIST = sql(
    f"""
    SELECT {_COLUMNS} AND (NOT :waiting OR (i.acted_at IS NULL AND i.dismissed_at IS NULL))
      AND (CAST(:page AS text) IS NULL OR i.place IS NULL OR :page LIKE i.place)
      AND (CAST(:before AS bigint) IS NULL OR i.id < :before) ORDER BY i.id DESC LIMIT :limit
    """
)
_UPTO = sql("SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) AS upto")
_CHANGED = sql(
    f"""
    SELECT i.changed, {_COLUMNS}
      AND (CAST(:since AS bigint) IS NULL AND i.acted_at IS NULL AND i.dismissed_at IS NULL OR i.changed >= :since)
      AND (CAST(:page AS text) IS NULL OR i.place IS NULL OR :page LIKE i.place)
    ORDER BY i.changed, i.id LIMIT :limit
    """
)


async def put_item(connection: Connection, key: str, recipient: str, content: Mapping[str, Any], at: datetime) -> None:
    """Deliver, in the gate's own transaction; a second time with the same key changes nothing."""
    page = content.get("page")
    place = _like(page) if isinstance(page, str) else None
    values = {"key": key, "recipient": recipient, "content": as_json(content), "place": place, "at": at}
    if await execute(connection, _PUT, **values) and content.get("kind") == "checklist":
        await checklists.open_checklist(connection, key, recipient, [item["signal"] for item in content["items"]])


def _like(pattern: str) -> str:
    """`/settings/*` as a pattern for LIKE, in which nothing else has a meaning."""
    plain = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return plain.replace("*", "%")


async def list_inbox(
    connection: Connection, keys: list[str], *, waiting: bool, before: int | None, limit: int, page: str | None = None
) -> list[RowDict]:
    """A person's messages, the newest first; `waiting` leaves out what was acted on or dismissed.

    With `page`, those that appear there: on this page by their pattern, or everywhere.
    """
    found = await fetch_all(connection, _LIST, keys=keys, waiting=waiting, before=before, limit=limit, page=page)
    return [item_of(item) for item in found]


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed in an inbox, the oldest change first, and from where to read on."""

    items: Sequence[RowDict]
    upto: int
    is_all: bool


async def inbox_changes(connection: Connection, keys: list[str], since: int | None, page: str | None = None) -> Changes:
    """What changed since; without `since` all that waits. Nothing is missed, but something may be told twice.

    A place beyond the database's own count comes from another one, and counts as the beginning.
    """
    found = await fetch_one(connection, _UPTO)
    upto = int(found["upto"]) if found else 0
    after = 0 if since is not None and since > upto else since
    items = await fetch_all(connection, _CHANGED, keys=keys, since=after, page=page, limit=MOST)
    if len(items) < MOST:
        return Changes([item_of(item) for item in items], upto, is_all=True)
    return Changes([item_of(item) for item in items], items[-1]["changed"], is_all=False)


def item_of(item: Mapping[str, Any]) -> RowDict:
    """A row as the API tells it: a checklist's items each with when it was ticked, or null."""
    found = {name: value for name, value in item.items() if name not in {"ticks", "changed"}}
    content = loaded(found["content"])
    ticks = loaded(item["ticks"]) if item.get("ticks") is not None else None
    if ticks:
        done = dict(ticks)
        items = [{**each, "done_at": done.get(str(n), done.get(n))} for n, each in enumerate(content["items"])]
        content = {**content, "items": items}
    return {**found, "content": content}
