"""Who has a task: what `journeys/tasks/assignment.py` needs to know, read; whose turn it is, kept; deadlines, told to the runs.

Whose turn it is and who has how much to do are read and changed under one lock, so that two tasks at once go to two people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from journeys.tasks.assignment import AssignmentRequest, AssignmentResult, Roster, assign_task
from store.database import Connection, execute, fetch_all, fetch_one, sql
from store.locks import Lock, lock_until_commit
from store.outbox import queue as outbox
from store.outbox.queue import DerivedSignal
from store.people import subjects
from store.tasks import log as task_log

_LOADS = sql("SELECT owner, count(*) AS n FROM tasks WHERE status = 'open' GROUP BY owner")
_TURN = sql("SELECT person FROM turns WHERE team = :team")
_TAKE_TURN = sql(
    "INSERT INTO turns (team, person) VALUES (:team, :person) ON CONFLICT (team) DO UPDATE SET person = excluded.person"
)
_GIVE = sql(
    """
    UPDATE tasks SET owner = :owner, team = :team, why = :why, level = :level, due_at = :due, remind_at = :remind,
      reminded_at = NULL, snoozed_until = :snoozed
    WHERE id = :id
    """
)
_ASKING = sql(
    """
    SELECT a.key, a.run, a.action, r.lane FROM task_asks a JOIN runs r ON r.id = a.run
    WHERE a.task_id = :id AND a.status = 'open' AND r.status = 'open' ORDER BY a.key
    """
)


@dataclass(frozen=True, slots=True)
class TaskHandover:
    """Who has a task from now on, since when they have it, and when it is due."""

    to: AssignmentResult
    due_at: datetime | None
    remind_at: datetime | None


async def choose_owner(
    connection: Connection, roster: Roster, *, task: str, named: str, account: str | None, at: datetime
) -> AssignmentResult:
    """Who gets it. A word that is neither a person nor a team of ours stays what it is, and locks nobody."""
    if not roster.knows(named):
        return assign_task(roster, AssignmentRequest(task, named, at), {})
    await lock_until_commit(connection, Lock.ROUTING)
    loads = {item["owner"]: item["n"] for item in await fetch_all(connection, _LOADS)}
    turn = await fetch_one(connection, _TURN, team=named)
    ask = AssignmentRequest(task, named, at, await _owner_of(connection, roster, account))
    found = assign_task(roster, ask, loads, turn["person"] if turn else None)
    if found.by_turn:
        await execute(connection, _TAKE_TURN, team=named, person=found.owner)
    return found


async def _owner_of(connection: Connection, roster: Roster, account: str | None) -> Any:
    return (await subjects.profile_of(connection, account)).get(roster.team.owner) if account is not None else None


def handover_of(
    roster: Roster, task: Mapping[str, Any], to: AssignmentResult, due: datetime | None, since: datetime
) -> TaskHandover:
    """With the reminder that belongs to a deadline."""
    working = task["within"] is not None
    return TaskHandover(to, due, roster.remind_at(task["task"], to.owner, due, since, working=working))


async def assign_to(
    connection: Connection, identity: int, what: TaskHandover, *, level: int, snoozed_until: datetime | None = None
) -> None:
    """Write down who has it and when it is due."""
    await execute(
        connection,
        _GIVE,
        id=identity,
        owner=what.to.owner,
        team=what.to.team,
        why=what.to.why,
        level=level,
        due=what.due_at,
        remind=what.remind_at,
        snoozed=snoozed_until,
    )


async def escalate_task(
    connection: Connection,
    roster: Roster,
    task: Mapping[str, Any],
    named: str,
    *,
    level: int,
    account: str | None,
    at: datetime,
    due: datetime | None = None,
) -> datetime | None:
    """What is late goes to the next one, and is due in so much of their working time again unless `due` is known; when."""
    to = await choose_owner(connection, roster, task=task["task"], named=named, account=account, at=at)
    if due is None and task["within"]:
        due = roster.due(to.owner, at, task["within"])
    await assign_to(connection, task["id"], handover_of(roster, task, to, due, at), level=level)
    text = f"overdue with {task['owner']}, so it goes to {to.owner}: {to.why}"
    await task_log.write_task_log(connection, task["id"], at, "escalated", task_log.SELF, text)
    return due


async def runs_asking_for(connection: Connection, identity: int) -> list[Mapping[str, Any]]:
    """The open runs that still ask for a task, with their lanes."""
    return await fetch_all(connection, _ASKING, id=identity)


async def tell_deadline(connection: Connection, ask: Mapping[str, Any], due: datetime, at: datetime) -> None:
    """A run's own durable timer rings when a task is due. Whoever tells holds the run's lane."""
    event_id = f"{ask['key']}=due {due.isoformat()}"
    data = {"ask": ask["key"].rpartition("#")[2], "due_at": due.isoformat()}
    await outbox.enqueue_derived(
        connection, DerivedSignal(ask["lane"], ask["run"], "deadline", ask["action"], event_id, at, data)
    )
