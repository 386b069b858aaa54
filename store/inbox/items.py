"""Items of the in-app inbox, one per message key.

Outside, an item's `id` is its random `ref`; its number orders the inbox and is not shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Text, and_, bindparam, cast, func, not_, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from store.database import Connection, as_json, execute, fetch_all, fetch_one, sql
from store.expressions import OLDEST_TRANSACTION, THIS_TRANSACTION, any_of
from store.inbox import checklists
from store.rows import RowDict, loaded
from store.schema import inbox

CHANNEL: Final = "tenure_inbox"
"""The NOTIFY channel of changes; the payload is the recipient's key."""
MOST: Final = 200
"""Changes read at once."""

# Inserting and notifying are one statement: the notification is sent at commit.
_put = (
    insert(inbox)
    .values(
        key=bindparam("key"),
        recipient=bindparam("recipient"),
        content=bindparam("content"),
        place=bindparam("place"),
        created_at=bindparam("at"),
    )
    .on_conflict_do_nothing(index_elements=[inbox.c.key])
    .returning(inbox.c.recipient)
    .cte("put")
)
_PUT = sql(select(func.pg_notify(CHANNEL, _put.c.recipient)))
ITEM_ID: Final = cast(inbox.c.ref, Text).label("id")
_items = select(
    ITEM_ID,
    inbox.c.content,
    inbox.c.created_at,
    inbox.c.seen_at,
    inbox.c.acted_at,
    inbox.c.dismissed_at,
    checklists.ticks_of(inbox.c.key),
)
_theirs = any_of(inbox.c.recipient, "keys")
_waits = and_(inbox.c.acted_at.is_(None), inbox.c.dismissed_at.is_(None))
_page = bindparam("page", type_=Text)
_on_page = or_(_page.is_(None), inbox.c.place.is_(None), _page.like(inbox.c.place))
_before = inbox.alias("before")
_number_before = select(_before.c.id).where(_before.c.ref == bindparam("before")).scalar_subquery()
_LIST = sql(
    _items.where(
        _theirs,
        or_(not_(bindparam("waiting", type_=Boolean)), _waits),
        _on_page,
        or_(bindparam("before", type_=_before.c.ref.type).is_(None), inbox.c.id < _number_before),
    )
    .order_by(inbox.c.id.desc())
    .limit(bindparam("limit"))
)
_UPTO = sql(select(OLDEST_TRANSACTION.label("upto")))
_since = bindparam("since", type_=BigInteger)
_CHANGED = sql(
    _items.add_columns(inbox.c.changed)
    .where(_theirs, or_(and_(_since.is_(None), _waits), inbox.c.changed >= _since), _on_page)
    .order_by(inbox.c.changed, inbox.c.id)
    .limit(bindparam("limit"))
)
_MOVE = sql(
    update(inbox)
    .where(inbox.c.recipient == bindparam("gone"))
    .values(recipient=bindparam("into"), changed=THIS_TRANSACTION)
)


async def put_item(connection: Connection, key: str, recipient: str, content: Mapping[str, Any], at: datetime) -> None:
    """Deliver an item in the gate's own transaction; the same key a second time changes nothing."""
    page = content.get("page")
    place = _like(page) if isinstance(page, str) else None
    values = {"key": key, "recipient": recipient, "content": as_json(content), "place": place, "at": at}
    if await execute(connection, _PUT, **values) and content.get("kind") == "checklist":
        await checklists.open_checklist(connection, key, recipient, [item["signal"] for item in content["items"]])


def _like(pattern: str) -> str:
    """`/settings/*` as a pattern for LIKE, with LIKE's own wildcards escaped."""
    plain = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return plain.replace("*", "%")


async def list_inbox(
    connection: Connection, keys: list[str], *, waiting: bool, before: str | None, limit: int, page: str | None = None
) -> list[RowDict]:
    """A person's messages, newest first, older than the one with the id `before`; `waiting` leaves out finished ones.

    With `page`, those that appear on this page by their pattern, or on every page.
    """
    rows = await fetch_all(connection, _LIST, keys=keys, waiting=waiting, before=before, limit=limit, page=page)
    return [item_of(row) for row in rows]


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of an inbox, oldest first, and the position to read on from."""

    items: Sequence[RowDict]
    upto: int
    is_all: bool


async def inbox_changes(connection: Connection, keys: list[str], since: int | None, page: str | None = None) -> Changes:
    """Changes since a position; without `since` all waiting messages. One may be returned twice, none is skipped.

    A position beyond the database's own counter comes from another database, and counts as the beginning.
    """
    oldest = await fetch_one(connection, _UPTO)
    upto = int(oldest["upto"]) if oldest else 0
    after = 0 if since is not None and since > upto else since
    rows = await fetch_all(connection, _CHANGED, keys=keys, since=after, page=page, limit=MOST)
    if len(rows) < MOST:
        return Changes([item_of(row) for row in rows], upto, is_all=True)
    return Changes([item_of(row) for row in rows], rows[-1]["changed"], is_all=False)


async def move_to(connection: Connection, gone: str, into: str) -> None:
    """Move a visitor's inbox to the user."""
    await execute(connection, _MOVE, gone=gone, into=into)


def item_of(row: Mapping[str, Any]) -> RowDict:
    """A row as the API returns it: each item of a checklist has the instant at which it was ticked, or null."""
    item = {name: value for name, value in row.items() if name not in {"ticks", "changed"}}
    content = loaded(item["content"])
    ticks = loaded(row["ticks"]) if row.get("ticks") is not None else None
    if ticks:
        ticked_at = dict(ticks)
        items = [
            {**part, "done_at": ticked_at.get(str(n), ticked_at.get(n))} for n, part in enumerate(content["items"])
        ]
        content = {**content, "items": items}
    return {**item, "content": content}
