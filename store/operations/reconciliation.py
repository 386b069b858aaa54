"""Reads and repairs of the reconciliation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Interval, Text, and_, bindparam, case, func, not_, or_, select, tuple_, update

from journeys.decision.effects import LogLine, WithdrawnMessages
from store.database import Connection, fetch_all, fetch_one, sql
from store.messages import withdrawals
from store.people.subjects import lock_subjects
from store.runs import projection
from store.schema import messages, runs
from store.schema.base import Timestamp
from store.tasks import requests as task_requests

_open = select(
    runs.c.id,
    runs.c.definition,
    runs.c.lane,
    runs.c.clock,
    runs.c.subject_key,
    runs.c.started_at,
    runs.c.step,
    runs.c.state,
    runs.c.next_due_at,
).where(runs.c.status == "open")
_OVERDUE = sql(
    _open.where(
        runs.c.clock.is_(None),
        not_(runs.c.paused),
        runs.c.next_due_at < func.clock_timestamp() - bindparam("late", type_=Interval),
        tuple_(runs.c.next_due_at, runs.c.id) > tuple_(bindparam("due", type_=Timestamp), bindparam("id", type_=Text)),
    )
    .order_by(runs.c.next_due_at, runs.c.id)
    .limit(bindparam("most"))
)
_QUIET = sql(
    _open.where(
        or_(runs.c.next_due_at.is_(None), runs.c.paused, runs.c.clock.is_not(None)),
        runs.c.id > bindparam("id"),
        or_(
            runs.c.state.is_not(None),
            runs.c.started_at < func.clock_timestamp() - bindparam("begun", type_=Interval),
        ),
    )
    .order_by(runs.c.id)
    .limit(bindparam("most"))
)
_last_instant = case(
    (runs.c.clock.is_(None), bindparam("at", type_=Timestamp)),
    else_=func.coalesce(runs.c.last_at, runs.c.started_at),
)
_CLOSE = sql(
    update(runs)
    .where(runs.c.id == bindparam("id"), runs.c.status == "open")
    .values(
        status="closed",
        outcome=func.coalesce(runs.c.outcome, bindparam("outcome", type_=Text)),
        next_due_at=None,
        ended_at=func.coalesce(runs.c.ended_at, _last_instant),
    )
    .returning(runs.c.step, runs.c.ended_at)
)
_late = bindparam("late", type_=Interval)
_FORGOTTEN = sql(
    select(messages.c.recipient)
    .distinct()
    .where(
        messages.c.clock.is_(None),  # on a test clock its driver wakes them
        messages.c.recipient > bindparam("past"),
        or_(
            and_(messages.c.status == "sending", messages.c.lease_until < func.clock_timestamp() - _late),
            and_(messages.c.status == "deferred", messages.c.due_at < func.clock_timestamp() - _late),
        ),
    )
    .order_by(messages.c.recipient)
    .limit(bindparam("most"))
)
_LAST_LINE = 1_000
"""The line's place in the timeline: after everything that the run's last step wrote."""

BEGINNING = datetime.min.replace(tzinfo=UTC)


async def overdue_runs(
    connection: Connection, late: timedelta, past: tuple[datetime, str], most: int
) -> list[Mapping[str, Any]]:
    """Open runs that have been due for more than `late`, by due date and id, after `past`."""
    return await fetch_all(connection, _OVERDUE, late=late, due=past[0], id=past[1], most=most)


async def runs_without_due_date(
    connection: Connection, begun: timedelta, past: str, most: int
) -> list[Mapping[str, Any]]:
    """Open runs that cannot be found by a due date, by id, after `past`.

    They wait for signals only, are paused, are on a test clock, or were admitted longer than `begun` ago and never made
    a step.
    """
    return await fetch_all(connection, _QUIET, begun=begun, id=past, most=most)


async def people_with_forgotten_messages(connection: Connection, late: timedelta, past: str, most: int) -> list[str]:
    """People with a message that has been due for more than `late`, by key, after `past`. Test clocks have a driver."""
    return [row["recipient"] for row in await fetch_all(connection, _FORGOTTEN, late=late, past=past, most=most)]


async def close_run(connection: Connection, identity: str, outcome: str, at: datetime) -> bool:
    """Close the row of a run whose workflow has ended, and withdraw what only an open run may leave open.

    These are its tasks and deferred messages, except messages of a final state. False if it was closed already.
    """
    await lock_subjects(connection, await withdrawals.unsettled_recipients(connection, identity))
    closed = await fetch_one(connection, _CLOSE, id=identity, outcome=outcome, at=at)
    if closed is None:
        return False
    ended, reason = closed["ended_at"], f"the run ended as {outcome}"
    effect = WithdrawnMessages(reason, ended)
    log = [LogLine(ended, "finished", outcome, f"its workflow has ended in Temporal: {outcome}")]
    withdrawn = [
        *await task_requests.withdraw_request(connection, identity, reason, ended),
        *[message.action for message in await withdrawals.withdraw_queued(connection, identity, effect, ended)],
    ]
    log += [LogLine(ended, "withdrawn", action, f"withdrawn: {reason}") for action in withdrawn]
    await projection.write_timeline(connection, identity, closed["step"], _LAST_LINE, log)
    return True
