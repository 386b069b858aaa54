"""Reads of the demonstration: counts of events, runs, messages and lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, Text, bindparam, column, exists, func, select, true
from sqlalchemy.dialects.postgresql import JSONB

from store.database import Connection, SqlStatement, fetch_all, fetch_one, sql
from store.expressions import when_given
from store.schema import events, messages, runs, timeline


def _count(of: Any) -> Select[Any]:
    return select(func.count().label("n")).select_from(of)


_SENT_BY_MAIL = sql(select(messages.c.reference).where(messages.c.channel == "email", messages.c.status == "sent"))
_EVENTS = sql(_count(events))
_RUNS = sql(_count(runs).where(when_given("journey", runs.c.journey)))
_BY_STATUS = sql(
    select(messages.c.status, func.count().label("n"))
    .where(messages.c.journey == bindparam("journey"))
    .group_by(messages.c.status)
    .order_by(messages.c.status)
)
_reason = func.jsonb_array_elements(messages.c.reasons).table_valued(column("value", JSONB), name="reason")
_code = _reason.c.value["code"].astext
_BY_REASON = sql(
    select(_code.label("code"), func.count().label("n"))
    .join_from(messages, _reason, true())
    .where(messages.c.journey == bindparam("journey"), messages.c.status.in_(("withheld", "withdrawn")))
    .group_by(_code)
    .order_by(_code)
)
_TIMELINE = sql(
    _count(timeline).where(
        when_given("kind", timeline.c.kind),
        when_given("about", timeline.c.about),
        when_given("text", timeline.c.text, lambda text, pattern: text.like(pattern)),
    )
)
_TEMPLATE = sql(_count(messages).where(messages.c.template == bindparam("template")))
_SENT_AFTER = sql(
    _count(messages).where(
        messages.c.status == "sent",
        exists().where(
            timeline.c.run == messages.c.run,
            timeline.c.about == messages.c.action,
            timeline.c.kind == "gate",
            timeline.c.text.like(bindparam("text", type_=Text)),
        ),
    )
)


async def _counted(connection: Connection, statement: SqlStatement, **values: Any) -> int:
    row = await fetch_one(connection, statement, **values)
    return int(row["n"]) if row else 0


async def references_sent_by_mail(connection: Connection) -> list[str]:
    """The reference of every mail that the ledger has as sent."""
    return [row["reference"] for row in await fetch_all(connection, _SENT_BY_MAIL)]


async def count_events(connection: Connection) -> int:
    """Accepted events."""
    return await _counted(connection, _EVENTS)


async def count_runs(connection: Connection, journey: str | None = None) -> int:
    """Runs of one journey, or of all."""
    return await _counted(connection, _RUNS, journey=journey)


async def count_by_status(connection: Connection, journey: str) -> Sequence[Mapping[str, Any]]:
    """Messages of a journey by `status`."""
    return await fetch_all(connection, _BY_STATUS, journey=journey)


async def count_unsent_by_reason(connection: Connection, journey: str) -> Sequence[Mapping[str, Any]]:
    """Messages of a journey that were withheld or withdrawn, by the `code` of each of their reasons."""
    return await fetch_all(connection, _BY_REASON, journey=journey)


async def count_lines(
    connection: Connection, kind: str | None = None, about: str | None = None, text: str | None = None
) -> int:
    """Timeline lines of a kind, about a name, with a text that matches a LIKE pattern."""
    return await _counted(connection, _TIMELINE, kind=kind, about=about, text=text)


async def count_messages(connection: Connection, template: str) -> int:
    """Messages of a template."""
    return await _counted(connection, _TEMPLATE, template=template)


async def count_sent_after(connection: Connection, text: str) -> int:
    """Sent messages with a line of the gate that matches a LIKE pattern."""
    return await _counted(connection, _SENT_AFTER, text=text)
