"""Due messages of a person: deferred, lease expired, or queued for a withdrawal."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    union,
)

from journeys.gate.requests import MESSAGES_PER_PASS
from journeys.gate.status import UNSETTLED, Status
from journeys.language.actions import PRIORITIES
from store.database import Connection, fetch_all, fetch_one, sql
from store.expressions import any_of
from store.messages.digests import IS_DIGEST
from store.messages.entries import ENTRY, LedgerEntry, entry_from_row, status_in
from store.rows import loaded
from store.schema import messages, runs
from store.schema.base import TextArray


def is_attempting(table: FromClause) -> ColumnElement[bool]:
    """Whether a message on a test clock has an unfinished attempt, or one to repeat at the instant of its decision."""
    columns = table.c
    to_be_repeated = and_(
        columns.status == Status.DEFERRED,
        columns.due_at <= columns.decided_at,
        columns.detail.is_not(None),  # an attempt has written it; the gate clears it
    )
    return or_(columns.status == Status.SENDING, to_be_repeated)


_theirs = messages.c.recipient == bindparam("person")
_other = messages.alias("other")
_named = messages.alias("named")
_named_is_due = exists().where(
    _named.c.id == bindparam("message", type_=BigInteger),
    _named.c.status == Status.DEFERRED,
    _named.c.due_at <= bindparam("now"),
)
_attempts_first = or_(
    messages.c.clock.is_(None),
    is_attempting(messages),
    and_(not_(exists().where(_other.c.recipient == bindparam("person"), is_attempting(_other))), _named_is_due),
)
_part, _run_of_part = messages.alias("part"), runs.alias("run_of_part")
_parts = (
    select(
        func.jsonb_agg(
            func.jsonb_build_array(
                _part.c.state,
                _part.c.visit,
                _part.c.stands,
                _run_of_part.c.status == "open",
                _run_of_part.c.state,
                _run_of_part.c.visit,
            )
        )
    )
    .join_from(_part, _run_of_part, _run_of_part.c.id == _part.c.run)
    .where(_part.c.merged_into == messages.c.key)
    .scalar_subquery()
)
_DUE = sql(
    ENTRY.add_columns(case((IS_DIGEST, _parts)).label("parts"))
    .where(
        _theirs,
        or_(
            and_(messages.c.status == Status.DEFERRED, messages.c.due_at <= bindparam("now")),
            and_(messages.c.status == Status.SENDING, messages.c.lease_until <= func.clock_timestamp()),
        ),
        _attempts_first,
    )
    .order_by(
        func.array_position(bindparam("order", type_=TextArray), messages.c.priority),
        messages.c.at,
        messages.c.id,
    )
    .limit(MESSAGES_PER_PASS)
)
_QUEUED = sql(
    ENTRY.where(_theirs, messages.c.status == Status.DEFERRED, not_(IS_DIGEST))
    .order_by(messages.c.id)
    .with_for_update(of=messages)
)
_NEXT = sql(
    select(
        func.min(messages.c.due_at).filter(messages.c.status == Status.DEFERRED).label("due"),
        func.min(messages.c.lease_until).filter(messages.c.status == Status.SENDING).label("lease"),
    ).where(_theirs, status_in(UNSETTLED))
)
_unsettled = and_(_theirs, status_in(UNSETTLED))
_unsettled_of_all = and_(any_of(messages.c.recipient, "people"), status_in(UNSETTLED))
_LANES = sql(
    union(
        select(runs.c.lane).join_from(messages, runs, runs.c.id == messages.c.run).where(_unsettled_of_all),
        select(_run_of_part.c.lane)
        .join_from(messages, _part, _part.c.merged_into == messages.c.key)
        .join(_run_of_part, _run_of_part.c.id == _part.c.run)
        .where(_unsettled_of_all, IS_DIGEST),
    )
)
_ANY_UNSETTLED = sql(select(literal(1)).where(_unsettled).limit(1))


async def due_messages(
    connection: Connection, person: str, now: datetime, message: int | None = None
) -> list[LedgerEntry]:
    """Messages to decide again for a person: deferred ones that are due by `now`, and attempts with an expired lease.

    They are in the order of `queue.order_of` (C6): of messages that waited for one thing, the first takes the last place
    under a cap. On a test clock, whose driver orders everything, unfinished attempts are returned alone, and others only
    while the `message` that the driver names is due: a wake that comes late must not settle what is due after something else.
    """
    rows = await fetch_all(connection, _DUE, person=person, now=now, message=message, order=list(PRIORITIES))
    return [_due_entry(dict(row)) for row in rows]


async def queued_messages(connection: Connection, person: str) -> list[LedgerEntry]:
    """Deferred messages of a person, locked, without digests: the gate decides on a digest when it is due."""
    return [entry_from_row(row) for row in await fetch_all(connection, _QUEUED, person=person)]


async def next_message_due(connection: Connection, person: str) -> tuple[datetime | None, datetime | None]:
    """The earliest deferred row (the person's clock) and the earliest lease (the real clock)."""
    row = await fetch_one(connection, _NEXT, person=person)
    return (row["due"], row["lease"]) if row else (None, None)


async def has_unsettled(connection: Connection, person: str) -> bool:
    """Whether any message of a person waits or is in flight."""
    return await fetch_one(connection, _ANY_UNSETTLED, person=person) is not None


async def lanes_of_unsettled(connection: Connection, people: Collection[str]) -> set[str]:
    """The lanes of the runs that have asked for these people's unsettled messages."""
    if not people:
        return set()
    return {row["lane"] for row in await fetch_all(connection, _LANES, people=sorted(people))}


def _due_entry(row: dict[str, Any]) -> LedgerEntry:
    parts = row.pop("parts")
    return entry_from_row(row, loaded(parts) if parts is not None else None)
