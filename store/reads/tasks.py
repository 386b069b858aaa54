"""Reads of tasks: one, or a list by owner, team, run or account."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Double, and_, bindparam, cast, exists, extract, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from store.database import Connection, fetch_all, fetch_one, sql
from store.expressions import when_given
from store.people.test_clocks import now_by_clock
from store.rows import RowDict, loaded
from store.schema import clocks, task_asks, tasks
from store.schema.base import Timestamp

# A task is overdue by the clock of its subject: `now` is the real instant.
_overdue = and_(
    tasks.c.status == "open",
    tasks.c.due_at.is_not(None),
    tasks.c.due_at < now_by_clock(bindparam("now", type_=Timestamp)),
)
_request = func.json_build_object("run", task_asks.c.run, "action", task_asks.c.action, "status", task_asks.c.status)
_asked_by = (
    select(func.json_agg(aggregate_order_by(_request, task_asks.c.asked_at, task_asks.c.key)))
    .where(task_asks.c.task_id == tasks.c.id)
    .scalar_subquery()
)
_tasks = select(
    tasks.c.id,
    tasks.c.key,
    tasks.c.run,
    tasks.c.subject_key.label("subject"),
    tasks.c.account_key.label("account"),
    tasks.c.journey,
    tasks.c.action,
    tasks.c.task,
    tasks.c.reason,
    tasks.c.named,
    tasks.c.owner,
    tasks.c.team,
    tasks.c.why,
    tasks.c.level,
    tasks.c.data,
    tasks.c.status,
    tasks.c.resolution,
    tasks.c.closed_by,
    tasks.c.within,
    tasks.c.opened_at,
    tasks.c.due_at,
    tasks.c.remind_at,
    tasks.c.reminded_at,
    tasks.c.snoozed_until,
    tasks.c.first_action_at,
    tasks.c.closed_at,
    tasks.c.clock,
    _overdue.label("overdue"),
    cast(extract("epoch", tasks.c.first_action_at - tasks.c.opened_at), Double).label("seconds_to_first_action"),
    cast(extract("epoch", tasks.c.closed_at - tasks.c.opened_at), Double).label("seconds_to_close"),
    _asked_by.label("asked_by"),
).select_from(tasks.outerjoin(clocks, clocks.c.id == tasks.c.clock))
_LIST = sql(
    _tasks.where(
        when_given("owner", tasks.c.owner),
        when_given("team", tasks.c.team),
        when_given("status", tasks.c.status),
        when_given(
            "run", task_asks.c.run, lambda run, value: exists().where(task_asks.c.task_id == tasks.c.id, run == value)
        ),
        when_given("account", tasks.c.account_key),
        when_given("overdue", _overdue),
        tasks.c.id > bindparam("after"),
    )
    .order_by(tasks.c.id)
    .limit(bindparam("limit"))
)
_ONE = sql(_tasks.where(tasks.c.id == bindparam("id")))


async def list_tasks(
    connection: Connection,
    *,
    now: datetime,
    owner: str | None = None,
    team: str | None = None,
    status: str | None = None,
    run: str | None = None,
    account: str | None = None,
    overdue: bool | None = None,
    after: int = 0,
    limit: int,
) -> list[RowDict]:
    """Tasks in the order in which they were opened; `run` also finds those it joined, `now` is the real instant."""
    rows = await fetch_all(
        connection,
        _LIST,
        now=now,
        owner=owner,
        team=team,
        status=status,
        run=run,
        account=account,
        overdue=overdue,
        after=after,
        limit=limit,
    )
    return [_task(dict(row)) for row in rows]


async def get_task(connection: Connection, identity: int, now: datetime) -> RowDict | None:
    """One task; None if there is none of this number."""
    row = await fetch_one(connection, _ONE, id=identity, now=now)
    return _task(dict(row)) if row else None


def _task(row: RowDict) -> RowDict:
    return {**row, "data": loaded(row["data"]), "asked_by": loaded(row["asked_by"]) or []}
