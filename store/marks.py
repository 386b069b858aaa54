"""An in-app message is seen, acted on or put away: the mark and the signal that tells of it are one commit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from journeys.wire import SOURCE_SELF
from store import checklists, ingest
from store.again import repeated
from store.catalogue import Catalogue
from store.clocks import now_for
from store.database import Connection, Database, row, sql
from store.inbox import CHANGED, CHANNEL, item_of
from store.queries import Row
from store.reactions import reaction

Mark = Literal["seen", "acted", "dismissed"]

_CLOCK = sql("SELECT clock FROM subjects WHERE key = :key")
_ITEM = f"i.id, i.key, i.recipient, i.content, i.created_at, i.seen_at, i.acted_at, i.dismissed_at, {checklists.TICKS} AS ticks"
_ONE = sql(f"SELECT {_ITEM} FROM inbox i WHERE i.id = :id")  # noqa: S608 -- the columns are ours


def _mark(column: str) -> Any:
    """Who acts or dismisses has seen it; the first time counts."""
    marks = dict.fromkeys(("seen_at", column), None)
    told = ", ".join(f"{name} = coalesce({name}, :at)" for name in marks)
    return sql(
        f"""
        WITH marked AS (UPDATE inbox SET {told}, {CHANGED} WHERE id = :id RETURNING *)
        SELECT {_ITEM}, pg_notify('{CHANNEL}', i.recipient) FROM marked i
        """  # noqa: S608 -- the columns are ours
    )


_MARK: Mapping[Mark, Any] = {"seen": _mark("seen_at"), "acted": _mark("acted_at"), "dismissed": _mark("dismissed_at")}


async def mark(
    database: Database,
    catalogue: Catalogue,
    identity: int,
    what: Mark,
    item: str | None = None,
    *,
    of: Collection[str] | None = None,
) -> Row | None:
    """Mark one message and tell `message_<what>`, once: the message as it is then. None if there is none.

    `of` are the keys of one person, who marks only what is theirs; without it the caller may mark anybody's.

    `item` is the key of one message within a digest: what is done is done to that one. Raises LookupError if it is not in it.
    """

    async def work(connection: Connection) -> Row | None:
        # The signal first: it locks the person, whom everybody else locks before a row of their inbox.
        before = await row(connection, _ONE, id=identity)
        if before is None or (of is not None and before["recipient"] not in of):
            return None
        found = item_of(before)
        about = before["key"] if item is None else _member(found, item)
        told = await reaction(connection, f"message_{what}", about, before["recipient"], once=f"{about}={what}")
        await ingest.accept_within(connection, catalogue, [told], source=SOURCE_SELF)
        clock = await row(connection, _CLOCK, key=before["recipient"])
        at = await now_for(connection, clock["clock"] if clock else None)
        after = await row(connection, _MARK[what], id=identity, at=at)
        assert after is not None
        return {name: value for name, value in item_of(after).items() if name not in {"key", "recipient", "pg_notify"}}

    return await repeated(database, work)


def _member(found: Row, key: str) -> str:
    if key not in {each.get("key") for each in found["content"].get("items", ())}:
        raise LookupError(key)
    return key
