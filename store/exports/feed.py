"""The feed as it is read: in order, with nothing skipped, whoever commits late.

A line takes its number while its transaction runs, so a higher number may be visible before a lower one. What is asked for is
only what cannot change any more: when a number is seen, a transaction number is taken; once every transaction older than
that has ended (`pg_snapshot_xmin`), no line up to the first can appear any more. The price is that the feed waits
for the longest transaction that writes; the gain is that nobody who writes pays or waits for anything.

Lines of one message are numbered in the order in which they happened: its row's lock is held from the number to the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from journeys.events.feed import feed_line, lines_with_reasons
from store.database import Connection, Database, execute, fetch_all, fetch_one, sql
from store.reads.people import loaded

PAUSE: Final = 0.01
LOOKS: Final = 25
"""How often a look is repeated while something new is not certain yet: a quarter of a second."""
MOST_WAITING: Final = 64

# The number before the transaction's: whoever has taken a number that is seen here has a transaction older than ours.
_SEEN = sql("SELECT coalesce(max(id), 0) AS id FROM feed")
_NEWEST = sql("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint) AS number")
_OLDEST = sql("SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) AS number")
_COLUMNS = """
    SELECT f.id, f.at, f.message, f.was, f.status, f.decided, f.attempt, f.channel, f.until, f.reasons, f.event,
      m.key, m.run, m.step, m.journey, m.state, m.action, m.template, m.topic, m.priority, m.recipient,
      m.subject_key AS subject, replace(CAST(m.trace AS text), '-', '') AS trace, w.id AS whole_id,
      (SELECT min(i.value) FROM identities i WHERE i.subject_key = m.recipient AND i.kind = 'user_id') AS user_id,
      e.name AS event_name, e.at AS event_at, e.data AS event_data
    FROM feed f JOIN messages m ON m.id = f.message LEFT JOIN messages w ON w.key = f.whole LEFT JOIN events e ON e.id = f.event
"""
_LINES = sql(f"{_COLUMNS} WHERE f.id > :after AND f.id <= :upto ORDER BY f.id LIMIT :limit")
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
# A verdict that is repeated as it was, as each hour while something is stopped, is told once; `until` is then the first's.
_STORY = sql(
    f"""
    SELECT * FROM (
      SELECT told.*, (status, attempt, reasons) IS DISTINCT FROM (lag(status) OVER w, lag(attempt) OVER w, lag(reasons) OVER w)
          OR event IS NOT NULL OR status <> 'deferred' AS new
      FROM ({_COLUMNS} WHERE f.message = :message) AS told WINDOW w AS (ORDER BY id)) AS each
    WHERE new ORDER BY id LIMIT :limit
    """  # noqa: S608 -- the columns are ours
)
_OF_MESSAGES = sql(f"{_COLUMNS} WHERE f.message = ANY(CAST(:messages AS bigint[])) ORDER BY f.id LIMIT :limit")


@dataclass(slots=True)
class Horizon:
    """Up to where the feed is certain, as far as this process knows. It only grows."""

    certain: int = 0
    _waiting: list[tuple[int, int]] = field(default_factory=list)
    _seen: int = 0

    async def look(self, database: Database, *, wanted: int = 0) -> int:
        """The last line that is certain now; looks a few times while nothing beyond `wanted` is, and something may be."""
        for _ in range(LOOKS):
            async with database.reading() as connection:
                await self._note(connection)
                await self._settle(connection)
            if self.certain > wanted or not self._waiting:
                break
            await asyncio.sleep(PAUSE)
        return self.certain

    async def _note(self, connection: Connection) -> None:
        seen = await _number(connection, _SEEN, "id")
        if seen > max(self._seen, self.certain) and len(self._waiting) < MOST_WAITING:
            self._waiting.append((seen, await _number(connection, _NEWEST)))
            self._seen = seen

    async def _settle(self, connection: Connection) -> None:
        oldest = await _number(connection, _OLDEST) if self._waiting else 0
        while self._waiting and self._waiting[0][1] < oldest:
            self.certain = max(self.certain, self._waiting.pop(0)[0])


async def _number(connection: Connection, statement: Any, name: str = "number") -> int:
    found = await fetch_one(connection, statement)
    return int(found[name]) if found is not None else 0


async def read_lines(connection: Connection, after: int, upto: int, limit: int) -> list[dict[str, Any]]:
    """Lines behind `after`, up to `upto`, which must be certain."""
    return [_line(item) for item in await fetch_all(connection, _LINES, after=after, upto=upto, limit=limit)]


def is_reaction(name: str, data: Mapping[str, Any]) -> bool:
    """Whether an event may tell what somebody did with a message."""
    return name.startswith("message_") and "message" in data


async def record_reaction(connection: Connection, events: Sequence[int]) -> None:
    """Lines for these events, if it is messages of ours that they speak of; in the events' own transaction."""
    if events:
        await execute(connection, _REACTED, events=list(events))


async def lines_of_message(connection: Connection, message: int, limit: int) -> list[dict[str, Any]]:
    """All that was ever decided about a message and became of it, in order and in words."""
    return [
        lines_with_reasons(_loaded(item)) for item in await fetch_all(connection, _STORY, message=message, limit=limit)
    ]


async def lines_of_messages(connection: Connection, messages: Sequence[int], limit: int) -> list[dict[str, Any]]:
    """What became of these messages, as far as it is visible now."""
    return [_line(item) for item in await fetch_all(connection, _OF_MESSAGES, messages=list(messages), limit=limit)]


def _line(item: Mapping[str, Any]) -> dict[str, Any]:
    return feed_line(_loaded(item))


def _loaded(item: Mapping[str, Any]) -> dict[str, Any]:
    return {**item, "reasons": loaded(item["reasons"]), "event_data": loaded(item["event_data"])}
