"""Reminders that are due: each is taken by one process, and marked once its owner was told, or cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from store.database import Connection, execute, fetch_all, fetch_one, sql
from store.people.test_clocks import read_clock
from store.tasks import log as task_log

_CLOCKS = sql(
    "SELECT DISTINCT clock FROM tasks WHERE status = 'open' AND remind_at IS NOT NULL AND clock IS NOT NULL ORDER BY clock"
)
_NEXT = sql(
    """
    SELECT id, task, journey, owner, team, due_at, account_key AS account, subject_key AS subject, remind_at FROM tasks
    WHERE status = 'open' AND remind_at <= :now AND clock IS NOT DISTINCT FROM CAST(:clock AS text)
      AND remind_at IS NOT NULL ORDER BY remind_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
    """
)
_REMINDED = sql("UPDATE tasks SET reminded_at = :at, remind_at = NULL WHERE id = :id")
_NOBODY = sql("UPDATE tasks SET remind_at = NULL WHERE id = :id")
_LATER = sql("UPDATE tasks SET remind_at = :at WHERE id = :id AND status = 'open' AND remind_at = :before")
_STANDING = sql(
    """
    SELECT coalesce(team, owner) AS team, count(*) AS open,
      count(*) FILTER (WHERE due_at < clock_timestamp() AND clock IS NULL) AS overdue
    FROM tasks WHERE status = 'open' GROUP BY 1
    """
)


async def clocks(connection: Connection) -> list[tuple[str | None, datetime]]:
    """Every clock by which a reminder may be due, with its now: the real one first."""
    real = datetime.now(UTC)
    found: list[tuple[str | None, datetime]] = [(None, real)]
    for item in await fetch_all(connection, _CLOCKS):
        clock = await read_clock(connection, item["clock"])
        found += [(clock.id, clock.virtual(real))] if clock is not None else []
    return found


async def next_reminder(connection: Connection, clock: str | None, now: datetime) -> Mapping[str, Any] | None:
    """The reminder that is due longest and that nobody else has in hand; locked until the commit."""
    return await fetch_one(connection, _NEXT, clock=clock, now=now)


async def mark_reminded(connection: Connection, task: Mapping[str, Any], at: datetime) -> None:
    """Its owner was told."""
    await execute(connection, _REMINDED, id=task["id"], at=at)
    await task_log.write_task_log(
        connection, task["id"], at, "reminded", task_log.SELF, f"{task['owner']} was reminded"
    )


async def mark_unreachable(connection: Connection, task: Mapping[str, Any], why: str, at: datetime) -> None:
    """Its owner cannot be told, now or later: whoever looks at the task can see that they were not."""
    await execute(connection, _NOBODY, id=task["id"])
    await task_log.write_task_log(
        connection, task["id"], at, "noted", task_log.SELF, f"{task['owner']} was not reminded: {why}"
    )


async def postpone_reminder(connection: Connection, task: Mapping[str, Any], pause: timedelta, now: datetime) -> None:
    """It could not be told now, and must not keep the others waiting."""
    await execute(connection, _LATER, id=task["id"], at=now + pause, before=task["remind_at"])


async def count_tasks(connection: Connection) -> list[Mapping[str, Any]]:
    """By team, or by owner where there is none: how many are open, and how many of them late."""
    return await fetch_all(connection, _STANDING)
