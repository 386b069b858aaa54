"""Reads of timelines: of a run, a step, a person."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Text,
    bindparam,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB

from journeys.events.history import HISTORICAL, history_sentence, is_historical
from store.database import Connection, fetch_all, sql
from store.expressions import any_of, trace_of
from store.reads.people import named_by
from store.rows import RowDict, loaded
from store.schema import events, messages, quarantine, runs, timeline
from store.schema.base import Timestamp

_OF_RUN = sql(
    select(
        timeline.c.step,
        timeline.c.n,
        timeline.c.at,
        timeline.c.recorded_at,
        timeline.c.kind,
        timeline.c.about,
        timeline.c.text,
        trace_of(timeline.c.trace),
    )
    .where(
        timeline.c.run == bindparam("run"),
        tuple_(timeline.c.step, timeline.c.n) > tuple_(bindparam("step", type_=Integer), bindparam("n", type_=Integer)),
    )
    .order_by(timeline.c.step, timeline.c.n)
    .limit(bindparam("limit"))
)
_OF_STEP = sql(
    select(
        timeline.c.at,
        literal("decision").label("source"),
        (cast(timeline.c.step, Text) + "." + cast(timeline.c.n, Text)).label("id"),
        timeline.c.kind,
        timeline.c.about,
        timeline.c.text,
        timeline.c.run,
        trace_of(timeline.c.trace),
    )
    .where(timeline.c.run == bindparam("run"), timeline.c.step == bindparam("step"))
    .order_by(timeline.c.n)
    .limit(200)
)


def _padded(number: ColumnElement[int], digits: int) -> ColumnElement[str]:
    """A number that sorts as text."""
    return func.lpad(cast(number, Text), digits, "0", type_=Text)


def _part(
    at: ColumnElement[datetime],
    source: str,
    identity: ColumnElement[str],
    *columns: ColumnElement[Any],
    condition: ColumnElement[bool],
) -> Select[Any]:
    """One source of a person's timeline, limited to a page by itself, so that a long history costs one page.

    `columns` end with those of an event that may be history: when it happened, and `context.historical`.
    """
    before = bindparam("before", type_=Timestamp)
    last = tuple_(before, bindparam("source", type_=Text), bindparam("id", type_=Text))
    return (
        select(at.label("at"), literal(source).label("source"), identity.label("id"), *columns)
        .where(condition, or_(before.is_(None), tuple_(at, literal(source), identity) < last))
        .order_by(at.desc(), identity.desc())
        .limit(bindparam("limit"))
    )


_NO_EVENT = (cast(null(), Timestamp).label("occurred_at"), cast(null(), JSONB).label("historical"))
_runs_of_person = select(runs.c.id).where(any_of(runs.c.subject_key, "keys")).scalar_subquery()
_decisions = _part(
    timeline.c.at,
    "decision",
    timeline.c.run + "#" + _padded(timeline.c.step, 9) + "#" + _padded(timeline.c.n, 5),
    timeline.c.kind,
    timeline.c.about,
    timeline.c.text,
    timeline.c.run,
    *_NO_EVENT,
    condition=timeline.c.run == func.any(func.array(_runs_of_person)),
)
_events = _part(
    events.c.at,
    "event",
    _padded(events.c.id, 20),
    events.c.kind,
    events.c.name.label("about"),
    (events.c.name + " came from " + events.c.source).label("text"),
    null().label("run"),
    events.c.occurred_at,
    events.c.context[HISTORICAL].label("historical"),
    condition=any_of(events.c.subject_key, "keys"),
)
_reason = func.jsonb_array_elements(messages.c.reasons, type_=JSONB).column_valued("reason")
_reasons = select(func.string_agg(_reason["text"].astext, "; ")).scalar_subquery()
_verdicts = _part(
    messages.c.decided_at,
    "message",
    _padded(messages.c.id, 20),
    messages.c.status.label("kind"),
    messages.c.template.label("about"),
    func.concat_ws(
        ": ", func.concat(messages.c.status, literal(" by ", Text) + messages.c.channel), func.nullif(_reasons, "")
    ).label("text"),
    messages.c.run,
    *_NO_EVENT,
    condition=any_of(messages.c.recipient, "keys"),
)
_held = _part(
    quarantine.c.received_at,
    "quarantine",
    _padded(quarantine.c.id, 20),
    literal("held").label("kind"),
    quarantine.c.name.label("about"),
    func.concat_ws(" ", quarantine.c.name, "is held:", quarantine.c.faults[0].astext).label("text"),
    null().label("run"),
    *_NO_EVENT,
    condition=named_by("keys"),
)
_lines = union_all(_decisions, _events, _verdicts, _held).subquery("lines")
_OF_PERSON = sql(
    select(_lines).order_by(_lines.c.at.desc(), _lines.c.source.desc(), _lines.c.id.desc()).limit(bindparam("limit"))
)


async def timeline_of_run(connection: Connection, run: str, after: tuple[int, int] | None, limit: int) -> list[RowDict]:
    """The lines of a run, oldest first."""
    step, n = after or (-1, -1)
    return [dict(row) for row in await fetch_all(connection, _OF_RUN, run=run, step=step, n=n, limit=limit)]


async def timeline_of_person(
    connection: Connection, keys: list[str], after: tuple[datetime, str, str] | None, limit: int
) -> list[RowDict]:
    """The timeline of a subject, newest first: accepted and held events, decisions of every run, messages."""
    before, source, identity = after or (None, "", "")
    rows = await fetch_all(connection, _OF_PERSON, keys=keys, before=before, source=source, id=identity, limit=limit)
    return [_with_history(dict(row)) for row in rows]


def _with_history(line: RowDict) -> RowDict:
    """A line of the timeline; that of an event which is history says so, and what follows."""
    occurred_at, told = line.pop("occurred_at"), line.pop("historical")
    context = {HISTORICAL: loaded(told)} if told is not None else None
    why = history_sentence(occurred_at or line["at"], line["at"], historical=is_historical(context))
    return {**line, "text": f"{line['text']}; {why}"} if why else line


async def timeline_of_step(connection: Connection, run: str, step: int) -> list[RowDict]:
    """The lines of one step of a run, in order."""
    return [dict(row) for row in await fetch_all(connection, _OF_STEP, run=run, step=step)]
