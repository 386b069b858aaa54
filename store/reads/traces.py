"""Reads of a trace: events, decisions, messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import bindparam, or_, select

from journeys.events.tracing import event_of_trace, trace_of_event
from store.database import Connection, fetch_all, fetch_one, sql
from store.exports import feed
from store.expressions import trace_of
from store.reads import messages
from store.rows import RowDict
from store.schema import events

MOST: Final = 200
"""Most events, lines and messages of a trace; the first of each."""
_NUMBERS: Final = 2**63

_events = select(
    events.c.id,
    events.c.source,
    events.c.message_id,
    events.c.kind,
    events.c.name,
    events.c.subject_key.label("subject"),
    events.c.at,
    events.c.received_at,
    trace_of(events.c.trace),
)
_STORED = sql(_events.where(events.c.source == bindparam("source"), events.c.message_id == bindparam("id")))
_OF_TRACE = sql(
    _events.where(or_(events.c.id == bindparam("id"), events.c.trace == bindparam("trace")))
    .order_by(events.c.id)
    .limit(MOST)
)
# The index begins with the source, and there are few sources: the query goes from one to the next, not over all events.
_first = select(events.c.source).order_by(events.c.source).limit(1)
_sources = select(_first.subquery("first").c.source).cte("sources", recursive=True)
_later = events.alias("later")
_next = select(_later.c.source).where(_later.c.source > _sources.c.source).order_by(_later.c.source).limit(1)
_sources = _sources.union_all(select(_next.scalar_subquery()).where(_sources.c.source.is_not(None)))
_WITH_MESSAGE_ID = sql(
    _events.join(_sources, _sources.c.source == events.c.source)
    .where(events.c.message_id == bindparam("id"))
    .order_by(events.c.id)
    .limit(MOST)
)
_LINES = sql(
    """
    WITH lanes AS (
      SELECT unnest(CAST(:subjects AS text[])) AS key
      UNION SELECT account_key FROM subjects WHERE key = ANY(CAST(:subjects AS text[])) AND account_key IS NOT NULL
      UNION SELECT merged_into FROM subjects WHERE key = ANY(CAST(:subjects AS text[])) AND merged_into IS NOT NULL
    ), of AS (
      SELECT id FROM runs WHERE lane IN (SELECT key FROM lanes)
      UNION SELECT run FROM messages WHERE trace = :trace
    )
    SELECT t.run, t.step, t.n, t.at, t.recorded_at, t.kind, t.about, t.text FROM of JOIN timeline t ON t.run = of.id
    WHERE t.trace = :trace ORDER BY t.recorded_at, t.run, t.step, t.n LIMIT :limit
    """
)


async def stored_event(connection: Connection, source: str, message_id: str) -> str | None:
    """The trace of an event that was accepted before; None if there is none with this id."""
    row = await fetch_one(connection, _STORED, source=source, id=message_id)
    return _trace(row) if row is not None else None


async def events_with_message_id(connection: Connection, message_id: str) -> list[RowDict]:
    """The events that any source gave this id, each with its trace."""
    return [{**row, "trace": _trace(row)} for row in await fetch_all(connection, _WITH_MESSAGE_ID, id=message_id)]


async def trace(connection: Connection, identity: str) -> RowDict | None:
    """All events, lines, messages and feed lines of a trace, in order; None if there are none."""
    number = event_of_trace(identity)
    rows = await fetch_all(connection, _OF_TRACE, id=number if number < _NUMBERS else 0, trace=identity)
    stored = [{**row, "trace": identity} for row in rows if _trace(row) == identity]
    sent = await messages.messages_of_trace(connection, identity, MOST)
    subjects = [event["subject"] for event in stored]
    lines = await fetch_all(connection, _LINES, trace=identity, subjects=subjects, limit=MOST)
    if not (stored or sent or lines):
        return None
    keys = sorted({message["merged_into"] for message in sent if message["merged_into"]})
    digest_ids = [digest["id"] for key in keys if (digest := await messages.message_with_key(connection, key))]
    return {
        "trace": identity,
        "events": stored,
        "lines": [dict(row) for row in lines],
        "messages": sent,
        "feed": await feed.lines_of_messages(connection, [*(message["id"] for message in sent), *digest_ids], MOST),
    }


def _trace(row: Mapping[str, Any]) -> str:
    if row["trace"] is not None:
        return str(row["trace"])
    return trace_of_event(row["id"], row["source"], row["message_id"])
