"""A link of a message was followed: where it leads stands in the ledger, and a click is a signal, once in a short while."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from journeys.protocol.wire import SOURCE_SELF
from store.database import Connection, Database, fetch_one, sql
from store.definitions.registry import DefinitionRegistry
from store.events import ingest
from store.events.reactions import reaction
from store.retry import retry_transaction
from store.rows import loaded

AGAIN: Final = timedelta(minutes=5)
"""A link that is followed again within this time after the last is not counted again."""
EARLIEST: Final = timedelta(seconds=2)
"""Nobody reads so fast: what follows a link sooner after the hand-over is a scanner on the way."""

_LEDGER = sql(
    """
    SELECT key, recipient, summary, sent_at FROM messages
    WHERE key = :name OR (reference = :name AND channel <> 'in_app') ORDER BY id DESC LIMIT 1
    """
)
_COUNT = sql(
    """
    INSERT INTO clicks (message, link, first_at, last_at) VALUES (:message, :link, :at, :at)
    ON CONFLICT (message, link) DO UPDATE SET times = clicks.times + 1, last_at = excluded.last_at
    WHERE clicks.last_at <= excluded.last_at - CAST(:again AS interval) RETURNING times
    """
)


async def record_click(
    database: Database, catalogue: DefinitionRegistry, name: str, link: int, *, counts: bool
) -> str | None:
    """Where a message's link leads, and with `counts` the signal `message_clicked`. None if the ledger has no such link.

    `name` is the message's key, or the digest of it where that is the provider's reference.
    """

    async def work(connection: Connection) -> str | None:
        found = await fetch_one(connection, _LEDGER, name=name)
        to = _link(found, link) if found is not None else None
        if found is None or to is None:
            return None
        at, key = datetime.now(UTC), found["key"]
        too_soon = found["sent_at"] is not None and timedelta() <= at - found["sent_at"] < EARLIEST
        if counts and not too_soon:
            counted = await fetch_one(connection, _COUNT, message=key, link=link, at=at, again=AGAIN)
            if counted is not None:
                about, once = to.get("key", key), f"{key}=clicked.{link}.{counted['times']}"
                told = await reaction(connection, "message_clicked", about, found["recipient"], once=once, link=link)
                await ingest.accept_within(connection, catalogue, [told], source=SOURCE_SELF)
        return str(to["url"])

    return await retry_transaction(database, work)


def _link(found: Mapping[str, Any], link: int) -> Mapping[str, Any] | None:
    links = (loaded(found["summary"]) or {}).get("links", ())
    return links[link] if 0 <= link < len(links) else None
