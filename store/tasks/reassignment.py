"""Reassignment and snoozing of tasks, by a person's decision."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from journeys.tasks.assignment import AssignmentResult, Roster
from store.database import Connection, Database
from store.rows import RowDict
from store.tasks import assignment
from store.tasks import log as task_log
from store.tasks.tasks import TaskNotOpen, change_under_lock

FARTHEST: Final = timedelta(days=366)


class SnoozeInvalid(Exception):
    """The instant is in the past, or farther away than `FARTHEST`. The caller's turn: give another."""


async def reassign_task(
    database: Database, identity: int, *, to: str, by: str, why: str, roster: Roster, now: datetime
) -> RowDict | None:
    """Give a task to a person, or to a team, whose rules choose one. None if there is no such task.

    Raises TaskNotOpen.
    """

    async def assign(connection: Connection, task: RowDict, at: datetime) -> None:
        _check_open(task)
        chosen = await assignment.choose_owner(
            connection, roster, task=task["task"], named=to, account=task["account"], at=at, clock=task["clock"],
            scope=task["account"] or task["subject"],
        )  # fmt: skip
        since = _awake(task, at)
        late = task["due_at"] is not None and task["due_at"] <= since
        # A late task stays late: passing it on gains no time, and it is not escalated twice.
        due = task["due_at"] if late else _moved(roster, task, chosen.owner, since, since)
        text = f"from {task['owner']} to {chosen.owner}: {why}"
        if chosen.owner != to:
            text += f" ({chosen.why})"
        result = AssignmentResult(chosen.owner, chosen.team, f"by {by}: {why}")
        await _give(connection, roster, task, result, due, since, task["snoozed_until"])
        await _enqueue_moved(connection, task, due, at)
        await task_log.write_task_log(connection, identity, at, "assigned", by, text)

    return await _row(database, identity, now, assign)


async def snooze_task(
    database: Database, identity: int, *, until: datetime, by: str, why: str, roster: Roster, now: datetime
) -> RowDict | None:
    """Postpone a task: the time that is left begins again at `until`. None if there is no such task.

    Raises TaskNotOpen and SnoozeInvalid.
    """

    async def snooze(connection: Connection, task: RowDict, at: datetime) -> None:
        _check_open(task)
        if not at < until <= at + FARTHEST:
            raise SnoozeInvalid
        due = _moved(roster, task, task["owner"], _awake(task, at), until)
        stays = AssignmentResult(task["owner"], task["team"], task["why"])
        await _give(connection, roster, task, stays, due, until, until)
        await _enqueue_moved(connection, task, due, at)
        text = f"until {until:%Y-%m-%d %H:%M} UTC: {why}"
        await task_log.write_task_log(connection, identity, at, "snoozed", by, text)

    return await _row(database, identity, now, snooze)


async def _row(database: Database, identity: int, now: datetime, change: Any) -> RowDict | None:
    changed = await change_under_lock(database, identity, now, change)
    return changed[1] if changed is not None else None


def _check_open(task: Mapping[str, Any]) -> None:
    if task["status"] != "open":
        raise TaskNotOpen


def _awake(task: Mapping[str, Any], at: datetime) -> datetime:
    """The instant from which the task's time passes: now, or when its snooze ends."""
    return max(at, task["snoozed_until"]) if task["snoozed_until"] else at


def _moved(roster: Roster, task: Mapping[str, Any], owner: str, since: datetime, until: datetime) -> datetime | None:
    """The deadline if the time that is left at `since` begins again at `until`, perhaps with another owner."""
    due: datetime | None = task["due_at"]
    if due is None:
        return None
    if task["within"] is not None:
        return roster.moved(task["owner"], owner, due, since, until)
    return max(due + (until - since), until)


async def _give(
    connection: Connection,
    roster: Roster,
    task: RowDict,
    to: AssignmentResult,
    due: datetime | None,
    since: datetime,
    snoozed_until: datetime | None,
) -> None:
    handover = assignment.handover_of(roster, task, to, due, since)
    await assignment.assign_to(connection, task["id"], handover, level=task["level"], snoozed_until=snoozed_until)


async def _enqueue_moved(connection: Connection, task: RowDict, due: datetime | None, at: datetime) -> None:
    """Enqueue the new deadline for every run that has a timer at it."""
    if due is not None and due != task["due_at"]:
        for ask in await assignment.runs_asking_for(connection, task["id"]):
            await assignment.enqueue_deadline(connection, ask, due, at)
