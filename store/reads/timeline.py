"""Why did, and why did not: the timeline of a run or a person, and every message with the reasons of its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from store.database import Connection, fetch_all, fetch_one, sql
from store.rows import RowDict, loaded

_OF_RUN = sql(
    """
    SELECT step, n, at, recorded_at, kind, about, text, replace(CAST(trace AS text), '-', '') AS trace FROM timeline
    WHERE run = :run AND (step, n) > (CAST(:step AS int), CAST(:n AS int)) ORDER BY step, n LIMIT :limit
    """
)


def _part(at: str, source: str, identity: str, told: str, table: str, whose: str) -> str:
    """One source of a person's timeline, cut to a page by itself: a long history costs a page and no more."""
    return f"""
      (SELECT {at} AS at, '{source}' AS source, {identity} AS id, {told} FROM {table}
       WHERE {whose} AND (CAST(:before AS timestamptz) IS NULL
         OR ({at}, '{source}', {identity}) < (:before, CAST(:source AS text), CAST(:id AS text)))
       ORDER BY 1 DESC, 3 DESC LIMIT :limit)"""  # noqa: S608 -- every part is written below


_DECISIONS = _part(
    "t.at",
    "decision",
    "t.run || '#' || lpad(t.step::text, 9, '0') || '#' || lpad(t.n::text, 5, '0')",
    "t.kind, t.about, t.text, t.run",
    "timeline t",
    "t.run = ANY(ARRAY(SELECT r.id FROM runs r WHERE r.subject_key = ANY(CAST(:keys AS text[]))))",
)
_EVENTS = _part(
    "e.at",
    "event",
    "lpad(e.id::text, 20, '0')",
    "e.kind, e.name AS about, e.name || ' came from ' || e.source AS text, NULL AS run",
    "events e",
    "e.subject_key = ANY(CAST(:keys AS text[]))",
)
_VERDICTS = _part(
    "m.decided_at",
    "message",
    "lpad(m.id::text, 20, '0')",
    """m.status AS kind, m.template AS about,
       concat_ws(': ', concat(m.status, ' by ' || m.channel),
         nullif((SELECT string_agg(r->>'text', '; ') FROM jsonb_array_elements(m.reasons) r), '')) AS text, m.run""",
    "messages m",
    "m.recipient = ANY(CAST(:keys AS text[]))",
)
_OF_PERSON = sql(
    f"""
    SELECT at, source, id, kind, about, text, run
    FROM ({_DECISIONS} UNION ALL {_EVENTS} UNION ALL {_VERDICTS}) AS told
    ORDER BY at DESC, source DESC, id DESC LIMIT :limit
    """  # noqa: S608
)
_COLUMNS = """
    m.id, m.key, m.run, m.journey, m.state, m.action, m.template, m.topic, m.priority, m.via, m.channel, m.status, m.reasons,
    m.at, m.due_at, m.expires_at, m.decided_at, m.sent_at, m.settled_at, m.attempts, m.detail, m.recipient, m.step,
    m.merged_into, replace(CAST(m.trace AS text), '-', '') AS trace
    FROM messages m
"""
_OF_RECIPIENT = sql(
    f"""
    SELECT {_COLUMNS} WHERE m.recipient = ANY(CAST(:keys AS text[])) AND (CAST(:status AS text) IS NULL OR m.status = :status)
      AND (CAST(:before AS bigint) IS NULL OR m.id < :before) ORDER BY m.id DESC LIMIT :limit
    """
)
_MESSAGES = sql(
    f"""
    SELECT {_COLUMNS} WHERE (CAST(:status AS text) IS NULL OR m.status = :status)
      AND (CAST(:run AS text) IS NULL OR m.run = :run)
      AND (CAST(:before AS bigint) IS NULL OR m.id < :before) ORDER BY m.id DESC LIMIT :limit
    """
)
_MESSAGE = sql(f"SELECT {_COLUMNS} WHERE m.id = :id")
_WITH_KEY = sql(f"SELECT {_COLUMNS} WHERE m.key = :key")
_PARTS = sql(f"SELECT {_COLUMNS} WHERE m.merged_into = :key ORDER BY m.id")
_OF_TEMPLATE = sql(
    f"""
    SELECT {_COLUMNS} WHERE m.recipient = ANY(CAST(:keys AS text[])) AND m.template = :template
    ORDER BY m.id DESC LIMIT 20
    """
)
_OF_TRACE = sql(f"SELECT {_COLUMNS} WHERE m.trace = :trace ORDER BY m.id LIMIT :limit")
_OF_STEP = sql(
    """
    SELECT at, 'decision' AS source, step || '.' || n AS id, kind, about, text, run,
      replace(CAST(trace AS text), '-', '') AS trace FROM timeline
    WHERE run = :run AND step = :step ORDER BY n LIMIT 200
    """
)


async def timeline_of_run(connection: Connection, run: str, after: tuple[int, int] | None, limit: int) -> list[RowDict]:
    """A run's own explanation, the oldest line first."""
    step, n = after or (-1, -1)
    return [dict(item) for item in await fetch_all(connection, _OF_RUN, run=run, step=step, n=n, limit=limit)]


async def timeline_of_person(
    connection: Connection, keys: list[str], after: tuple[datetime, str, str] | None, limit: int
) -> list[RowDict]:
    """What happened to a subject, the newest first: accepted events, decisions of every run, messages."""
    before, source, identity = after or (None, "", "")
    found = await fetch_all(connection, _OF_PERSON, keys=keys, before=before, source=source, id=identity, limit=limit)
    return [dict(item) for item in found]


async def messages(
    connection: Connection,
    *,
    keys: list[str] | None = None,
    run: str | None = None,
    status: str | None = None,
    before: int | None = None,
    limit: int,
) -> list[RowDict]:
    """The ledger, the newest first: of one person, of one run, or of all."""
    values: dict[str, Any] = {"status": status, "before": before, "limit": limit}
    if keys is not None:
        found = await fetch_all(connection, _OF_RECIPIENT, keys=keys, **values)
    else:
        found = await fetch_all(connection, _MESSAGES, run=run, **values)
    return [_message(item) for item in found]


async def message(connection: Connection, identity: int) -> RowDict | None:
    """One row of the ledger."""
    found = await fetch_one(connection, _MESSAGE, id=identity)
    return _message(found) if found else None


async def message_with(connection: Connection, key: str) -> RowDict | None:
    """One row of the ledger by its key."""
    found = await fetch_one(connection, _WITH_KEY, key=key)
    return _message(found) if found else None


async def parts_of_message(connection: Connection, key: str) -> list[RowDict]:
    """What went out as this message."""
    return [_message(item) for item in await fetch_all(connection, _PARTS, key=key)]


async def messages_of_template(connection: Connection, keys: list[str], template: str) -> list[RowDict]:
    """What was decided for a person about this template, the latest first, at most 20."""
    return [_message(item) for item in await fetch_all(connection, _OF_TEMPLATE, keys=keys, template=template)]


async def lines_of_trace(connection: Connection, trace: str, limit: int) -> list[RowDict]:
    """The messages that one event has caused, the oldest first."""
    return [_message(item) for item in await fetch_all(connection, _OF_TRACE, trace=trace, limit=limit)]


async def lines_of_step(connection: Connection, run: str, step: int) -> list[RowDict]:
    """What a run decided in one step, in order."""
    return [dict(item) for item in await fetch_all(connection, _OF_STEP, run=run, step=step)]


def _message(item: Mapping[str, Any]) -> RowDict:
    return {**item, "via": loaded(item["via"]), "reasons": loaded(item["reasons"])}
