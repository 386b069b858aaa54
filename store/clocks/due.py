"""Due work of a test clock as a whole, and of one group.

The clock does not move while it has due work. `levels` is the length of the policy's chain of escalation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, exists, func, or_, select, union
from sqlalchemy.sql.expression import ScalarSelect

from journeys.gate.status import Status
from store.database import Connection, fetch_all, fetch_one, sql
from store.expressions import any_of
from store.messages.due import is_attempting
from store.people.test_clocks import CLOCK, TestClock, clock_in
from store.schema import clocks, messages, outbox, runs, subjects, tasks
from store.schema.base import Timestamp
from store.tasks.escalation import LATE

_waiting = outbox.c.delivered_at.is_(None)
_behind = subjects.c.behind_since.is_not(None)
_open_run = and_(runs.c.status == "open", runs.c.next_due_at.is_not(None))
_reminding = and_(tasks.c.status == "open", tasks.c.scope_key.is_not(None))
_late = and_(*LATE, tasks.c.scope_key.is_not(None))
_attempting = is_attempting(messages)


def _messages_due(now: ColumnElement[datetime]) -> ColumnElement[bool]:
    return or_(
        messages.c.status == Status.SENDING, and_(messages.c.status == Status.DEFERRED, messages.c.due_at <= now)
    )


def _has_work(clock: ColumnElement[str], now: ColumnElement[datetime]) -> ColumnElement[bool]:
    return or_(
        exists().where(outbox.c.clock == clock, _waiting),
        exists().where(subjects.c.clock == clock, _behind),
        exists().where(runs.c.clock == clock, _open_run, runs.c.next_due_at <= now),
        exists().where(messages.c.clock == clock, _messages_due(now)),
        exists().where(tasks.c.clock == clock, _reminding, tasks.c.remind_at <= now),
        exists().where(tasks.c.clock == clock, _late, tasks.c.due_at <= now),
    )


_work = _has_work(clocks.c.id, clocks.c.now)
_BUSY_CLOCKS = sql(select(clocks.c.id).where(or_(clocks.c.status != "ready", _work)).order_by(clocks.c.id))
_STATE = sql(select(*CLOCK, _work.label("has_work")).where(clocks.c.id == bindparam("id")))
_clock, _now = bindparam("clock", type_=clocks.c.id.type), bindparam("now", type_=Timestamp)
_BUSY_SUBJECTS = sql(
    union(
        select(outbox.c.recipient.label("key")).where(outbox.c.clock == _clock, _waiting),
        select(subjects.c.key).where(subjects.c.clock == _clock, _behind),
        select(runs.c.lane).where(runs.c.clock == _clock, _open_run, runs.c.next_due_at <= _now),
        select(messages.c.recipient).where(messages.c.clock == _clock, _messages_due(_now)),
        select(tasks.c.scope_key).where(tasks.c.clock == _clock, _reminding, tasks.c.remind_at <= _now),
        select(tasks.c.scope_key).where(tasks.c.clock == _clock, _late, tasks.c.due_at <= _now),
    )
)


def _least(column: ColumnElement[datetime], *which: ColumnElement[bool]) -> ScalarSelect[datetime]:
    return select(func.min(column)).where(*which).scalar_subquery()


_NEXT = sql(
    select(
        func.least(
            _least(runs.c.next_due_at, runs.c.clock == _clock, _open_run),
            _least(messages.c.due_at, messages.c.clock == _clock, messages.c.status == Status.DEFERRED),
            _least(tasks.c.remind_at, tasks.c.clock == _clock, _reminding),
            _least(tasks.c.due_at, tasks.c.clock == _clock, _late),
        ).label("at")
    )
)


def _first(column: ColumnElement[Any], *which: ColumnElement[bool], by: Sequence[ColumnElement[Any]]) -> Any:
    return select(column).where(*which).order_by(*by).limit(1).scalar_subquery()


_theirs = and_(messages.c.clock == _clock, any_of(messages.c.recipient, "keys"))
_first_message = (
    select(messages.c.id, messages.c.recipient)
    .where(_theirs, messages.c.status == Status.DEFERRED, messages.c.due_at <= _now)
    .order_by(messages.c.due_at, messages.c.id)
    .limit(1)
    .cte("first_message")
)
# A copy is made in another transaction than the account's row, whose place it has (record 0015).
_order_of_rows = [
    func.coalesce(outbox.c.copy_of, outbox.c.id),
    outbox.c.copy_of.is_not(None),
    select(subjects.c.member_number).where(subjects.c.key == outbox.c.recipient).scalar_subquery(),
    outbox.c.id,
]
_of_scope = and_(tasks.c.clock == _clock, any_of(tasks.c.scope_key, "keys"))
_FIRST = sql(
    select(
        _first(
            subjects.c.key, subjects.c.clock == _clock, any_of(subjects.c.key, "keys"), _behind,
            by=[subjects.c.behind_since, subjects.c.key],
        ).label("account"),
        _first(messages.c.recipient, _theirs, _attempting, by=[messages.c.id]).label("attempting"),
        _first(
            outbox.c.id, outbox.c.clock == _clock, any_of(outbox.c.recipient, "keys"), _waiting, by=_order_of_rows
        ).label("row"),
        _first(
            runs.c.id, runs.c.clock == _clock, any_of(runs.c.lane, "keys"), _open_run, runs.c.next_due_at <= _now,
            by=[runs.c.next_due_at, runs.c.number],
        ).label("run"),
        select(_first_message.c.recipient).scalar_subquery().label("person"),
        select(_first_message.c.id).scalar_subquery().label("message"),
        exists().where(_of_scope, _reminding, tasks.c.remind_at <= _now).label("reminder"),
        exists().where(_of_scope, _late, tasks.c.due_at <= _now).label("escalation"),
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FirstDue:
    """The first due item of each kind of a group. The fields are settled in this order.

    `account` has rows that its members' lanes lack, `attempting` is a person with an unfinished attempt, `row` an
    undelivered row of the outbox, `run` the run with the earliest deadline, `person` the one whose deferred `message` has
    waited longest.
    """

    account: str | None
    attempting: str | None
    row: int | None
    run: str | None
    person: str | None
    message: int | None
    reminder: bool
    escalation: bool


async def busy_clocks(connection: Connection, levels: int) -> list[str]:
    """The clocks that are not ready."""
    return [row["id"] for row in await fetch_all(connection, _BUSY_CLOCKS, levels=levels)]


async def read_state(connection: Connection, clock: str, levels: int) -> tuple[TestClock, bool] | None:
    """A clock, and whether it has due work. None if there is no such clock."""
    row = await fetch_one(connection, _STATE, id=clock, levels=levels)
    if row is None:
        return None
    values: Mapping[str, Any] = {name: value for name, value in row.items() if name != "has_work"}
    return clock_in(values), bool(row["has_work"])


async def busy_subjects(connection: Connection, clock: TestClock, levels: int) -> set[str]:
    """The people and accounts with due work at the clock's now."""
    rows = await fetch_all(connection, _BUSY_SUBJECTS, clock=clock.id, now=clock.now, levels=levels)
    return {row["key"] for row in rows}


async def next_instant(connection: Connection, clock: str, levels: int) -> datetime | None:
    """The least instant of work on the clock; None if there is none."""
    row = await fetch_one(connection, _NEXT, clock=clock, levels=levels)
    return row["at"] if row is not None else None


async def first_of_group(connection: Connection, clock: TestClock, keys: Sequence[str], levels: int) -> FirstDue:
    """The due work of a group at the clock's now."""
    row = await fetch_one(connection, _FIRST, clock=clock.id, now=clock.now, keys=list(keys), levels=levels)
    assert row is not None
    return FirstDue(**row)
