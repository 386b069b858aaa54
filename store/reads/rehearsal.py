"""Reads of a rehearsal: messages, timelines and runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Text, bindparam, func, or_, select

from store.database import Connection, fetch_all, sql
from store.schema import identities, messages, runs, timeline

_recipient = (
    select(func.min(identities.c.value)).where(identities.c.subject_key == messages.c.recipient).scalar_subquery()
)
_MESSAGES = sql(
    select(
        messages.c.template,
        messages.c.channel,
        messages.c.status,
        messages.c.journey,
        messages.c.state,
        messages.c.action,
        messages.c.at,
        messages.c.decided_at,
        messages.c.sent_at,
        messages.c.due_at,
        messages.c.reasons,
        _recipient.label("recipient"),
    ).order_by(func.coalesce(messages.c.sent_at, messages.c.decided_at), messages.c.id)
)


def _of_user() -> ColumnElement[bool]:
    """The runs of one user; of all, where none is given."""
    user = bindparam("user", type_=Text)
    return or_(user.is_(None), runs.c.lane.in_(select(identities.c.subject_key).where(identities.c.value == user)))


_TIMELINE = sql(
    select(runs.c.journey, timeline.c.at, timeline.c.kind, timeline.c.about, timeline.c.text)
    .join_from(timeline, runs, runs.c.id == timeline.c.run)
    .where(_of_user())
    .order_by(runs.c.started_at, timeline.c.run, timeline.c.step, timeline.c.n)
)
_RUNS = sql(
    select(
        runs.c.id,
        runs.c.journey,
        runs.c.case_key,
        runs.c.epoch,
        runs.c.status,
        runs.c.state,
        runs.c.outcome,
        runs.c.step,
        runs.c.next_due_at,
    )
    .where(_of_user())
    .order_by(runs.c.started_at, runs.c.id)
)


async def all_messages(connection: Connection) -> Sequence[Mapping[str, Any]]:
    """Every message with its recipient's id, in the order in which they were sent or decided."""
    return await fetch_all(connection, _MESSAGES)


async def all_timelines(connection: Connection, user: str | None) -> Sequence[Mapping[str, Any]]:
    """The lines of a user's runs, or of all, by the start of the run."""
    return await fetch_all(connection, _TIMELINE, user=user)


async def all_runs(connection: Connection, user: str | None) -> Sequence[Mapping[str, Any]]:
    """A user's runs, or all, with state, outcome and next due date."""
    return await fetch_all(connection, _RUNS, user=user)
