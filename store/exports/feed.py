"""The feed as it is read: in order, and nothing is skipped.

A line takes its number while its transaction runs, so a higher number may be visible before a lower one. Only lines
before which nothing can appear any more are returned; they are *certain*. When a number is seen, a transaction number
is taken; once every transaction older than that has ended (`pg_snapshot_xmin`), no line up to the first can appear any
more. So the feed waits for the longest writing transaction, and no writer pays or waits for the feed.

Lines of one message are numbered in the order in which they happened: its row is locked from the number to the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import bindparam, func, or_, select, tuple_

from journeys.gate.feed import feed_line, lines_with_reasons
from store.database import Connection, Database, SqlStatement, execute, fetch_all, fetch_one, sql
from store.expressions import OLDEST_TRANSACTION, THIS_TRANSACTION, any_of, trace_of
from store.rows import loaded
from store.schema import events, feed, identities, messages

PAUSE: Final = 0.01
LOOKS: Final = 25
"""Polls while something new is not certain yet: a quarter of a second."""
MOST_WAITING: Final = 64


# The line's number is read before the transaction's: the transaction of every line up to it is then older than ours.
_SEEN = sql(select(func.coalesce(func.max(feed.c.id), 0).label("number")))
_NEWEST = sql(select(THIS_TRANSACTION.label("number")))
_OLDEST = sql(select(OLDEST_TRANSACTION.label("number")))
_whole = messages.alias("whole")
_user_id = (
    select(func.min(identities.c.value))
    .where(identities.c.subject_key == messages.c.recipient, identities.c.kind == "user_id")
    .scalar_subquery()
)
_lines = (
    select(
        feed.c.id,
        feed.c.at,
        feed.c.message,
        feed.c.was,
        feed.c.status,
        feed.c.decided,
        feed.c.attempt,
        feed.c.channel,
        feed.c.until,
        feed.c.reasons,
        feed.c.event,
        messages.c.key,
        messages.c.run,
        messages.c.step,
        messages.c.journey,
        messages.c.state,
        messages.c.action,
        messages.c.template,
        messages.c.topic,
        messages.c.priority,
        messages.c.recipient,
        messages.c.subject_key.label("subject"),
        trace_of(messages.c.trace),
        _whole.c.id.label("whole_id"),
        _user_id.label("user_id"),
        events.c.name.label("event_name"),
        events.c.at.label("event_at"),
        events.c.data.label("event_data"),
    )
    .join_from(feed, messages, messages.c.id == feed.c.message)
    .outerjoin(_whole, _whole.c.key == feed.c.whole)
    .outerjoin(events, events.c.id == feed.c.event)
)
_LINES = sql(
    _lines.where(feed.c.id > bindparam("after"), feed.c.id <= bindparam("upto"))
    .order_by(feed.c.id)
    .limit(bindparam("limit"))
)
# A reaction names its message by key, a provider's webhook by number.
_REACTED = sql(
    """
    INSERT INTO feed (message, status, decided, attempt, channel, event)
    SELECT m.id, m.status, false, m.attempts, m.channel, e.id FROM events e CROSS JOIN LATERAL (
      SELECT id, status, attempts, channel FROM messages WHERE key = e.data->>'message'
      UNION ALL
      SELECT id, status, attempts, channel FROM messages
      WHERE id = CASE WHEN e.data->>'message' ~ '^[0-9]{1,18}$' THEN CAST(e.data->>'message' AS bigint) END) AS m
    WHERE e.id = ANY(CAST(:events AS bigint[])) ORDER BY e.id
    """
)
# A verdict that is repeated unchanged, as each hour during a kill switch, is returned once, with the first one's `until`.
_of_message = _lines.where(feed.c.message == bindparam("message")).subquery("of_message")
_before = [
    func.lag(column).over(order_by=_of_message.c.id)
    for column in (_of_message.c.status, _of_message.c.attempt, _of_message.c.reasons)
]
_compared = select(
    _of_message,
    or_(
        tuple_(_of_message.c.status, _of_message.c.attempt, _of_message.c.reasons).is_distinct_from(tuple_(*_before)),
        _of_message.c.event.is_not(None),
        _of_message.c.status != "deferred",
    ).label("new"),
).subquery("compared")
_OF_MESSAGE = sql(select(_compared).where(_compared.c.new).order_by(_compared.c.id).limit(bindparam("limit")))
_OF_MESSAGES = sql(_lines.where(any_of(feed.c.message, "messages")).order_by(feed.c.id).limit(bindparam("limit")))


@dataclass(slots=True)
class Horizon:
    """Up to where the feed is certain, as far as this process has read. It only grows."""

    certain: int = 0
    _waiting: list[tuple[int, int]] = field(default_factory=list)
    _seen: int = 0

    async def look(self, database: Database, *, wanted: int = 0) -> int:
        """The last certain line; polls a few times while nothing beyond `wanted` is certain, but something may be."""
        for _ in range(LOOKS):
            async with database.reading() as connection:
                await self._note(connection)
                await self._settle(connection)
            if self.certain > wanted or not self._waiting:
                break
            await asyncio.sleep(PAUSE)
        return self.certain

    async def _note(self, connection: Connection) -> None:
        newest = await _number(connection, _SEEN)
        if newest > max(self._seen, self.certain) and len(self._waiting) < MOST_WAITING:
            self._waiting.append((newest, await _number(connection, _NEWEST)))
            self._seen = newest

    async def _settle(self, connection: Connection) -> None:
        oldest = await _number(connection, _OLDEST) if self._waiting else 0
        while self._waiting and self._waiting[0][1] < oldest:
            self.certain = max(self.certain, self._waiting.pop(0)[0])


async def _number(connection: Connection, statement: SqlStatement) -> int:
    row = await fetch_one(connection, statement)
    return int(row["number"]) if row is not None else 0


async def read_lines(connection: Connection, after: int, upto: int, limit: int) -> list[dict[str, Any]]:
    """Lines after `after`, up to `upto`, which must be certain."""
    return [_line(row) for row in await fetch_all(connection, _LINES, after=after, upto=upto, limit=limit)]


def is_reaction(name: str, data: Mapping[str, Any]) -> bool:
    """Whether an event may be a reaction to a message."""
    return name.startswith("message_") and "message" in data


async def record_reaction(connection: Connection, events: Sequence[int]) -> None:
    """Write lines for these events, if they name messages of ours; in the events' own transaction."""
    if events:
        await execute(connection, _REACTED, events=list(events))


async def lines_of_message(connection: Connection, message: int, limit: int) -> list[dict[str, Any]]:
    """Every decision and result of a message, in order, with reasons as text."""
    return [
        lines_with_reasons(_loaded(row))
        for row in await fetch_all(connection, _OF_MESSAGE, message=message, limit=limit)
    ]


async def lines_of_messages(connection: Connection, messages: Sequence[int], limit: int) -> list[dict[str, Any]]:
    """Results of these messages, as far as they are visible now."""
    return [_line(row) for row in await fetch_all(connection, _OF_MESSAGES, messages=list(messages), limit=limit)]


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    return feed_line(_loaded(row))


def _loaded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "reasons": loaded(row["reasons"]), "event_data": loaded(row["event_data"])}
