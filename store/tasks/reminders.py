"""Due reminders of tasks: claimed by one process, marked when sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, func, or_, select, update

from store.database import Connection, execute, fetch_all, fetch_one, sql
from store.expressions import any_of, array_of
from store.schema import tasks
from store.tasks import log as task_log

_waits = (tasks.c.status == "open", tasks.c.remind_at.is_not(None))
_NEXT = sql(
    select(
        tasks.c.id,
        tasks.c.run,
        tasks.c.opened_at,
        tasks.c.task,
        tasks.c.reason,
        tasks.c.journey,
        tasks.c.owner,
        tasks.c.team,
        tasks.c.due_at,
        tasks.c.account_key.label("account"),
        tasks.c.subject_key.label("subject"),
        tasks.c.remind_at,
    )
    .where(
        *_waits,
        tasks.c.remind_at <= bindparam("now"),
        tasks.c.clock.is_not_distinct_from(bindparam("clock")),
        or_(array_of("scopes", tasks.c.scope_key).is_(None), any_of(tasks.c.scope_key, "scopes")),
    )
    .order_by(tasks.c.remind_at, tasks.c.id)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_REMINDED = sql(update(tasks).where(tasks.c.id == bindparam("id")).values(reminded_at=bindparam("at"), remind_at=None))
_UNREACHABLE = sql(update(tasks).where(tasks.c.id == bindparam("id")).values(remind_at=None))
_LATER = sql(
    update(tasks)
    .where(tasks.c.id == bindparam("id"), tasks.c.status == "open", tasks.c.remind_at == bindparam("before"))
    .values(remind_at=bindparam("at"))
)
_team = func.coalesce(tasks.c.team, tasks.c.owner).label("team")
_COUNTS = sql(
    select(
        _team,
        func.count().label("open"),
        func.count().filter(tasks.c.due_at < func.clock_timestamp(), tasks.c.clock.is_(None)).label("overdue"),
    )
    .where(tasks.c.status == "open")
    .group_by(_team)
)


async def next_reminder(
    connection: Connection, clock: str | None, now: datetime, scopes: Sequence[str] | None = None
) -> Mapping[str, Any] | None:
    """The reminder that has been due longest by a clock and that no other process holds; locked until the commit.

    `scopes` are the accounts and people whose tasks count; without them all do.
    """
    return await fetch_one(connection, _NEXT, clock=clock, now=now, scopes=scopes)


async def mark_reminded(connection: Connection, task: Mapping[str, Any], at: datetime) -> None:
    """Record that the owner was reminded."""
    await execute(connection, _REMINDED, id=task["id"], at=at)
    await task_log.write_task_log(
        connection, task["id"], at, "reminded", task_log.SELF, f"{task['owner']} was reminded"
    )


async def mark_unreachable(connection: Connection, task: Mapping[str, Any], why: str, at: datetime) -> None:
    """Record that the owner cannot be reminded, for the readers of the task's log."""
    await execute(connection, _UNREACHABLE, id=task["id"])
    await task_log.write_task_log(
        connection, task["id"], at, "noted", task_log.SELF, f"{task['owner']} was not reminded: {why}"
    )


async def postpone_reminder(connection: Connection, task: Mapping[str, Any], pause: timedelta, now: datetime) -> None:
    """Postpone a reminder that could not be sent now, so that it does not delay the others."""
    await execute(connection, _LATER, id=task["id"], at=now + pause, before=task["remind_at"])


async def count_tasks(connection: Connection) -> list[Mapping[str, Any]]:
    """Open and overdue tasks by team, or by owner if there is no team."""
    return await fetch_all(connection, _COUNTS)
