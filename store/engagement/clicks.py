"""Clicks on tracked links: the target and a signal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import and_, bindparam, or_, select
from sqlalchemy.dialects.postgresql import insert

from journeys.protocol.wire import SOURCE_SELF
from store.database import Connection, Database, fetch_one, sql
from store.definitions.registry import DefinitionRegistry
from store.events import ingest
from store.events.reactions import reaction
from store.people.test_clocks import now_from_outside
from store.retry import retry_transaction
from store.rows import loaded
from store.schema import clicks, messages

REPEAT_WITHIN: Final = timedelta(minutes=5)
"""A click on the same link within this time after the last counted one is not counted."""
EARLIEST: Final = timedelta(seconds=2)
"""A click sooner after the hand-over is a mail scanner's, and is not counted."""

_MESSAGE = sql(
    select(messages.c.key, messages.c.recipient, messages.c.summary, messages.c.sent_at, messages.c.clock)
    .where(
        or_(
            messages.c.key == bindparam("name"),
            and_(messages.c.reference == bindparam("name"), messages.c.channel != "in_app"),
        )
    )
    .order_by(messages.c.id.desc())
    .limit(1)
)
_first = insert(clicks).values(
    message=bindparam("message"), link=bindparam("link"), first_at=bindparam("at"), last_at=bindparam("at")
)
_COUNT = sql(
    _first.on_conflict_do_update(
        index_elements=[clicks.c.message, clicks.c.link],
        set_={"times": clicks.c.times + 1, "last_at": _first.excluded.last_at},
        where=clicks.c.last_at <= _first.excluded.last_at - REPEAT_WITHIN,
    ).returning(clicks.c.times)
)


async def record_click(
    database: Database, catalogue: DefinitionRegistry, name: str, link: int, *, counts: bool
) -> str | None:
    """The target of a message's link; with `counts` also the signal `message_clicked`. None if there is no such link.

    `name` is the message's key, or its hash where that is the provider's reference.
    """

    async def work(connection: Connection) -> str | None:
        message = await fetch_one(connection, _MESSAGE, name=name)
        to = _link(message, link) if message is not None else None
        if message is None or to is None:
            return None
        if counts:
            await _count(connection, catalogue, message, link, to.get("key", message["key"]))
        return str(to["url"])

    return await retry_transaction(database, work)


async def _count(
    connection: Connection, catalogue: DefinitionRegistry, message: Mapping[str, Any], link: int, about: str
) -> None:
    key, at = message["key"], await now_from_outside(connection, message["clock"])
    if _is_too_soon(message, at):
        return
    counted = await fetch_one(connection, _COUNT, message=key, link=link, at=at)
    if counted is not None:
        once = f"{key}=clicked.{link}.{counted['times']}"
        event = await reaction(connection, "message_clicked", about, message["recipient"], once=once, link=link)
        await ingest.accept_within(connection, catalogue, [event], source=SOURCE_SELF)


def _is_too_soon(message: Mapping[str, Any], at: datetime) -> bool:
    """Whether the click came too soon for a person. A test clock stands still, so on one it never does."""
    sent_at: datetime | None = message["sent_at"]
    if sent_at is None or message["clock"] is not None:
        return False
    return timedelta() <= at - sent_at < EARLIEST


def _link(message: Mapping[str, Any], link: int) -> Mapping[str, Any] | None:
    links = (loaded(message["summary"]) or {}).get("links", ())
    return links[link] if 0 <= link < len(links) else None
