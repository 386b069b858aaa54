"""Opening of tasks: the one insert, with deadline, reminder and log line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam
from sqlalchemy.dialects.postgresql import insert

from journeys.tasks.assignment import AssignmentResult, Roster
from journeys.tasks.requests import deadline_of
from store.database import Connection, as_json, fetch_one, sql
from store.schema import tasks
from store.tasks import assignment
from store.tasks import log as task_log

_OPEN = sql(
    insert(tasks)
    .values(
        key=bindparam("key"),
        run=bindparam("run"),
        subject_key=bindparam("subject"),
        journey=bindparam("journey"),
        action=bindparam("action"),
        task=bindparam("task"),
        owner=bindparam("owner"),
        data=bindparam("data"),
        opened_at=bindparam("at"),
        due_at=bindparam("due"),
        scope_key=bindparam("scope"),
        reason=bindparam("reason"),
        account_key=bindparam("account"),
        named=bindparam("named"),
        team=bindparam("team"),
        why=bindparam("why"),
        within=bindparam("within"),
        remind_at=bindparam("remind"),
        clock=bindparam("clock"),
    )
    .on_conflict_do_nothing()
    .returning(tasks.c.id)
)


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to open. There is one open task for each `scope` and `reason`.

    `within` is the working time that its owner has until it is due; without it, it is due at `due_at`.
    """

    key: str
    run: str
    subject: str
    journey: str
    action: str
    task: str
    named: str
    data: Mapping[str, Any]
    at: datetime
    within: str | None
    scope: str
    reason: str
    account: str | None
    clock: str | None
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TaskOpened:
    """A task that was opened, and its deadline."""

    id: int
    due_at: datetime | None


async def open_task(connection: Connection, roster: Roster, new: NewTask, to: AssignmentResult) -> TaskOpened | None:
    """Open a task for its owner. None if another transaction was quicker; its task is visible after its commit."""
    due = deadline_of(roster, to.owner, new.at, within=new.within, due_at=new.due_at)
    handover = assignment.handover_of(roster, {"task": new.task, "within": new.within}, to, due, new.at)
    row = await fetch_one(
        connection,
        _OPEN,
        key=new.key,
        run=new.run,
        subject=new.subject,
        journey=new.journey,
        action=new.action,
        task=new.task,
        owner=to.owner,
        data=as_json(new.data),
        at=new.at,
        due=due,
        scope=new.scope,
        reason=new.reason,
        account=new.account,
        named=new.named,
        team=to.team,
        why=to.why,
        within=new.within,
        remind=handover.remind_at,
        clock=new.clock,
    )
    if row is None:
        return None
    await task_log.write_task_log(connection, row["id"], new.at, "opened", task_log.SELF, f"for {to.owner}: {to.why}")
    return TaskOpened(row["id"], due)
