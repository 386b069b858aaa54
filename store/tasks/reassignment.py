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
    """The instant is not to come, or farther away than `FARTHEST`. The caller's turn: give another."""


async def reassign_task(
    database: Database, identity: int, *, to: str, by: str, why: str, roster: Roster, now: datetime
) -> RowDict | None:
    """Give it to a person, or to a team, whose rules find one. None if there is no such task; raises NotOpen."""

    async def assign(connection: Connection, task: RowDict, at: datetime) -> None:
        _check_open(task)
        found = await assignment.choose_owner(
            connection, roster, task=task["task"], named=to, account=task["account"], at=at
        )
        since = _awake(task, at)
        late = task["due_at"] is not None and task["due_at"] <= since
        # What is late stays late: nobody gets new time by passing it on, and it is not escalated twice.
        due = task["due_at"] if late else _moved(roster, task, found.owner, since, since)
        text = f"from {task['owner']} to {found.owner}: {why}"
        if found.owner != to:
            text += f" ({found.why})"
        said = AssignmentResult(found.owner, found.team, f"by {by}: {why}")
        await _give(connection, roster, task, said, due, since, task["snoozed_until"])
        await _tell(connection, task, due, at)
        await task_log.write_task_log(connection, identity, at, "assigned", by, text)

    return await _row(database, identity, now, assign)


async def snooze_task(
    database: Database, identity: int, *, until: datetime, by: str, why: str, roster: Roster, now: datetime
) -> RowDict | None:
    """Put it off: what was left of its time begins again then. None if there is none; raises NotOpen and Untimely."""

    async def snooze(connection: Connection, task: RowDict, at: datetime) -> None:
        _check_open(task)
        if not at < until <= at + FARTHEST:
            raise SnoozeInvalid
        due = _moved(roster, task, task["owner"], _awake(task, at), until)
        stays = AssignmentResult(task["owner"], task["team"], task["why"])
        await _give(connection, roster, task, stays, due, until, until)
        await _tell(connection, task, due, at)
        text = f"until {until:%Y-%m-%d %H:%M} UTC: {why}"
        await task_log.write_task_log(connection, identity, at, "snoozed", by, text)

    return await _row(database, identity, now, snooze)


async def _row(database: Database, identity: int, now: datetime, change: Any) -> RowDict | None:
    found = await change_under_lock(database, identity, now, change)
    return found[1] if found is not None else None


def _check_open(task: Mapping[str, Any]) -> None:
    if task["status"] != "open":
        raise TaskNotOpen


def _awake(task: Mapping[str, Any], at: datetime) -> datetime:
    """Since when its time passes: from now on, or from when it comes back."""
    return max(at, task["snoozed_until"]) if task["snoozed_until"] else at


def _moved(roster: Roster, task: Mapping[str, Any], owner: str, since: datetime, until: datetime) -> datetime | None:
    """Its deadline when what is left of its time at `since` begins again at `until`, perhaps with somebody else."""
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
    asleep: datetime | None,
) -> None:
    has = assignment.handover_of(roster, task, to, due, since)
    await assignment.assign_to(connection, task["id"], has, level=task["level"], snoozed_until=asleep)


async def _tell(connection: Connection, task: RowDict, due: datetime | None, at: datetime) -> None:
    """Every run whose timer rings at the deadline hears that it has moved."""
    if due is not None and due != task["due_at"]:
        for ask in await assignment.runs_asking_for(connection, task["id"]):
            await assignment.tell_deadline(connection, ask, due, at)
