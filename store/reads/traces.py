"""From a trace to what it is made of: the events that began it, what their runs decided, the messages that came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from journeys.events.tracing import event_of_trace, trace_of_event
from store.database import Connection, fetch_all, fetch_one, sql
from store.exports import feed
from store.reads import timeline
from store.rows import RowDict

MOST: Final = 200
"""Of each kind that are told; the first."""
_NUMBERS: Final = 2**63

_COLUMNS = """e.id, e.source, e.message_id, e.kind, e.name, e.subject_key AS subject, e.at, e.received_at,
      replace(CAST(e.trace AS text), '-', '') AS trace"""
_STORED = sql(f"SELECT {_COLUMNS} FROM events e WHERE e.source = :source AND e.message_id = :id")  # noqa: S608 -- ours
_EVENTS = sql(f"SELECT {_COLUMNS} FROM events e WHERE e.id = :id OR e.trace = :trace ORDER BY e.id LIMIT {MOST}")  # noqa: S608
# There are few sources, and the index begins with them: from one to the next instead of over all events.
_CALLED = sql(
    f"""
    WITH RECURSIVE sources AS (
      (SELECT source FROM events ORDER BY source LIMIT 1)
      UNION ALL
      SELECT (SELECT n.source FROM events n WHERE n.source > s.source ORDER BY n.source LIMIT 1)
      FROM sources s WHERE s.source IS NOT NULL)
    SELECT {_COLUMNS} FROM sources s JOIN events e ON e.source = s.source AND e.message_id = :id
    ORDER BY e.id LIMIT {MOST}
    """  # noqa: S608
)
_LINES = sql(
    f"""
    WITH lanes AS (
      SELECT unnest(CAST(:subjects AS text[])) AS key
      UNION SELECT account_key FROM subjects WHERE key = ANY(CAST(:subjects AS text[])) AND account_key IS NOT NULL
      UNION SELECT merged_into FROM subjects WHERE key = ANY(CAST(:subjects AS text[])) AND merged_into IS NOT NULL
    ), of AS (
      SELECT id FROM runs WHERE lane IN (SELECT key FROM lanes)
      UNION SELECT run FROM messages WHERE trace = :trace
    )
    SELECT t.run, t.step, t.n, t.at, t.recorded_at, t.kind, t.about, t.text FROM of JOIN timeline t ON t.run = of.id
    WHERE t.trace = :trace ORDER BY t.recorded_at, t.run, t.step, t.n LIMIT {MOST}
    """  # noqa: S608
)


async def stored_event(connection: Connection, source: str, message_id: str) -> str | None:
    """The trace of an event that was accepted before; None if there is none of this id."""
    found = await fetch_one(connection, _STORED, source=source, id=message_id)
    return _trace(found) if found is not None else None


async def events_with_message_id(connection: Connection, message_id: str) -> list[RowDict]:
    """The events that senders gave this id, whoever they were, each with its trace."""
    return [{**item, "trace": _trace(item)} for item in await fetch_all(connection, _CALLED, id=message_id)]


async def trace(connection: Connection, identity: str) -> RowDict | None:
    """All that is known of a trace, in order; None if nobody knows it."""
    number = event_of_trace(identity)
    found = await fetch_all(connection, _EVENTS, id=number if number < _NUMBERS else 0, trace=identity)
    events = [{**item, "trace": identity} for item in found if _trace(item) == identity]
    messages = await timeline.lines_of_trace(connection, identity, MOST)
    lines = await fetch_all(connection, _LINES, trace=identity, subjects=[event["subject"] for event in events])
    if not (events or messages or lines):
        return None
    wholes = {message["merged_into"] for message in messages if message["merged_into"]}
    told = [whole["id"] for key in sorted(wholes) if (whole := await timeline.message_with(connection, key))]
    return {
        "trace": identity,
        "events": events,
        "lines": [dict(item) for item in lines],
        "messages": messages,
        "feed": await feed.lines_of_messages(connection, [*(message["id"] for message in messages), *told], MOST),
    }


def _trace(item: Mapping[str, Any]) -> str:
    return (
        str(item["trace"])
        if item["trace"] is not None
        else trace_of_event(item["id"], item["source"], item["message_id"])
    )
