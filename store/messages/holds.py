"""Holds on people and accounts, with an end.

The gate reads holds under the person's lock, and a hold is placed and released under the same lock, so every decision
after that commit sees it. A hold ends by itself: nothing has to run at its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Text, and_, bindparam, exists, func, or_, select, union, update
from sqlalchemy.dialects.postgresql import insert

from journeys.access.callers import VIA
from store.database import Connection, Database, execute, fetch_all, fetch_one, sql
from store.expressions import any_of, before_given, when_given
from store.messages.ledger import made_due
from store.outbox import queue as outbox
from store.people.subjects import lock_subjects
from store.people.test_clocks import now_by_clock, now_from_outside
from store.retry import retry_transaction
from store.rows import RowDict
from store.schema import clocks, holds, members, messages, subjects
from store.schema.base import Timestamp

HELD: Final = "held"
"""The code of the gate's reason: messages that wait for it are decided again as soon as it is released."""
LONGEST: Final = timedelta(days=180)

_hold = (
    holds.c.id,
    holds.c.subject_key.label("subject"),
    holds.c.since,
    holds.c.until,
    holds.c.by,
    holds.c.why,
    holds.c.released_at,
    holds.c.released_by,
)
_not_released = holds.c.released_at.is_(None)
_of_subject = holds.c.subject_key == bindparam("subject")
_STANDING = sql(
    select(holds.c.subject_key, holds.c.until, holds.c.by, holds.c.why)
    .where(any_of(holds.c.subject_key, "subjects"), _not_released, holds.c.until > bindparam("now"))
    .order_by(holds.c.until.desc(), holds.c.id)
)
_LAST = sql(select(*_hold).where(_of_subject, _not_released).with_for_update())
_HOLD = sql(
    insert(holds)
    .values(
        subject_key=bindparam("subject"),
        clock=bindparam("clock"),
        since=bindparam("at"),
        until=bindparam("until"),
        by=bindparam("by"),
        why=bindparam("why"),
    )
    .returning(holds.c.id)
)
_END = sql(
    update(holds).where(holds.c.id == bindparam("id")).values(released_at=bindparam("at"), released_by=bindparam("by"))
)
_is_active = and_(_not_released, holds.c.until > now_by_clock(bindparam("now", type_=Timestamp)))
_holds = select(*_hold, _is_active.label("standing")).outerjoin_from(holds, clocks, clocks.c.id == holds.c.clock)
_GET = sql(_holds.where(holds.c.id == bindparam("id")))


def _is_by(column: ColumnElement[str], person: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a hold is by this person, with whatever key (`ApiKey.acts_for`)."""
    return or_(column == person, func.starts_with(column, person.concat(VIA)))


_LIST = sql(
    _holds.where(
        when_given("subject", holds.c.subject_key),
        when_given("by", holds.c.by, _is_by),
        before_given(holds.c.id),
        when_given("standing", _is_active),
    )
    .order_by(holds.c.id.desc())
    .limit(bindparam("limit"))
)
_subject = bindparam("subject", type_=Text)
_people = union(
    select(_subject),
    select(subjects.c.key).where(subjects.c.account_key == _subject),
    select(members.c.person_key).where(members.c.account_key == _subject),
)
_MAKE_DUE = made_due(bindparam("at", type_=Timestamp), messages.c.recipient.in_(_people))

_other = holds.alias("other")
# Where both are held, the visitor's hold is released and the user's stays. Both rows are kept.
_RELEASE_DOUBLE = sql(
    update(holds)
    .where(
        holds.c.subject_key == bindparam("gone"),
        _not_released,
        exists().where(_other.c.subject_key == bindparam("into"), _other.c.released_at.is_(None)),
    )
    .values(
        released_at=func.greatest(holds.c.since, func.least(holds.c.until, bindparam("at", type_=Timestamp))),
        released_by="merge",
    )
)
_MOVE = sql(update(holds).where(holds.c.subject_key == bindparam("gone")).values(subject_key=bindparam("into")))


@dataclass(frozen=True, slots=True)
class ActiveHold:
    """An active hold on a person or their account."""

    subject: str
    until: datetime
    by: str
    why: str


class HeldByOther(Exception):
    """Somebody else holds the subject already. The caller's turn: talk to `held.by`, or wait until it ends."""

    def __init__(self, held: ActiveHold) -> None:
        super().__init__(f"{held.by} holds it until {held.until:%Y-%m-%d %H:%M} UTC")
        self.held = held


class HoldEndInvalid(Exception):
    """The end is in the past, or too far away. The caller's turn: give one within `LONGEST`."""


async def active_holds(connection: Connection, person: str, accounts: Iterable[str], now: datetime) -> list[ActiveHold]:
    """The active holds on a person and their accounts; the one that ends last comes first."""
    rows = await fetch_all(connection, _STANDING, subjects=[person, *accounts], now=now)
    return [ActiveHold(row["subject_key"], row["until"], row["by"], row["why"]) for row in rows]


async def place_hold(database: Database, subject: str, *, until: datetime, by: str, why: str, now: datetime) -> RowDict:
    """Hold a person or an account, or change the end of one's own hold. Raises HeldByOther and HoldEndInvalid."""

    async def take(connection: Connection) -> RowDict:
        at, clock = await _locked(connection, subject)
        if not at < until <= at + LONGEST:
            raise HoldEndInvalid
        last = await fetch_one(connection, _LAST, subject=subject)
        if last is not None:
            is_active = last["until"] > at
            if is_active and last["by"] != by:
                raise HeldByOther(ActiveHold(subject, last["until"], last["by"], last["why"]))
            await execute(
                connection, _END, id=last["id"], at=at if is_active else last["until"], by=by if is_active else "time"
            )
        made = await fetch_one(connection, _HOLD, subject=subject, clock=clock, at=at, until=until, by=by, why=why)
        assert made is not None
        await _decide_again(connection, subject, at)
        return await _read(connection, made["id"], now)

    return await retry_transaction(database, take)


async def release_hold(database: Database, subject: str, *, by: str, now: datetime) -> RowDict | None:
    """End the active hold, whoever placed it, and decide again what waited for it. None if there is no active hold."""

    async def end(connection: Connection) -> RowDict | None:
        at, _ = await _locked(connection, subject)
        last = await fetch_one(connection, _LAST, subject=subject)
        if last is None or last["until"] <= at:
            return None
        await execute(connection, _END, id=last["id"], at=at, by=by)
        await _decide_again(connection, subject, at)
        return await _read(connection, last["id"], now)

    return await retry_transaction(database, end)


async def move_to(connection: Connection, gone: str, into: str, at: datetime) -> None:
    """Move a visitor's holds to the user; where both are held, the user's hold stays."""
    await execute(connection, _RELEASE_DOUBLE, gone=gone, into=into, at=at)
    await execute(connection, _MOVE, gone=gone, into=into)


async def list_holds(
    connection: Connection,
    *,
    now: datetime,
    subject: str | None = None,
    by: str | None = None,
    standing: bool | None = None,
    before: int | None = None,
    limit: int,
) -> list[RowDict]:
    """Holds, newest first: active ones, ended ones, or both."""
    values: dict[str, Any] = {"subject": subject, "by": by, "standing": standing, "before": before, "limit": limit}
    return [dict(row) for row in await fetch_all(connection, _LIST, now=now, **values)]


async def _locked(connection: Connection, subject: str) -> tuple[datetime, str | None]:
    """Lock the subject, so that no decision on their messages runs meanwhile; their now, and their clock."""
    locked = await lock_subjects(connection, [subject])
    clock = locked[subject].clock
    return await now_from_outside(connection, clock), clock


async def _decide_again(connection: Connection, subject: str, at: datetime) -> None:
    rows = await fetch_all(connection, _MAKE_DUE, subject=subject, at=at, codes=[HELD])
    for person in sorted({row["recipient"] for row in rows}):
        await outbox.wake_outreach(connection, person)


async def _read(connection: Connection, identity: int, now: datetime) -> RowDict:
    row = await fetch_one(connection, _GET, id=identity, now=now)
    assert row is not None
    return dict(row)
