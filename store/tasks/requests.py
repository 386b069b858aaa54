"""Requests for tasks: runs open, join, escalate and withdraw them (C10).

There is one open task for each account (or person without one) and reason; a further request joins it. It stays open
while one of its runs still asks for it. A unique index holds this also for two requests at the same moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, assert_never

from sqlalchemy import and_, bindparam, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from journeys.decision.effects import ClosedTask, Effect, EscalatedTask, OpenedTask, task_key
from journeys.tasks.assignment import Roster
from journeys.tasks.requests import deadline_after_joining, deadline_still_ahead, is_escalated_already, reason_of
from store.database import Connection, execute, fetch_all, fetch_one, sql
from store.errors import Contended
from store.expressions import any_of, when_given
from store.runs.projection import Run
from store.schema import runs, task_asks, tasks
from store.schema.base import Timestamp
from store.tasks import assignment, log
from store.tasks.opening import NewTask, open_task

TRIES = 3
_ASKED = sql(select(task_asks.c.task_id).where(task_asks.c.key == bindparam("key")))
_EXISTING = sql(
    select(tasks.c.id, tasks.c.task, tasks.c.owner, tasks.c.level, tasks.c.due_at, tasks.c.within)
    .where(tasks.c.scope_key == bindparam("scope"), tasks.c.reason == bindparam("reason"), tasks.c.status == "open")
    .with_for_update()
)
_ASK = sql(
    insert(task_asks).values(
        key=bindparam("key"),
        task_id=bindparam("task"),
        run=bindparam("run"),
        action=bindparam("action"),
        asked_at=bindparam("at"),
    )
)
_due = bindparam("due", type_=Timestamp)
_SOONER = sql(
    update(tasks)
    .where(tasks.c.id == bindparam("id"), or_(tasks.c.due_at.is_(None), tasks.c.due_at > _due))
    .values(due_at=_due, remind_at=func.least(tasks.c.remind_at, _due))
)
_OF_RUN = sql(
    select(
        tasks.c.id,
        tasks.c.task,
        tasks.c.owner,
        tasks.c.level,
        tasks.c.due_at,
        tasks.c.within,
        tasks.c.clock,
        tasks.c.account_key.label("account"),
        tasks.c.subject_key.label("subject"),
        task_asks.c.key,
        task_asks.c.action,
    )
    .join_from(tasks, task_asks, and_(task_asks.c.task_id == tasks.c.id, task_asks.c.status == "open"))
    .where(task_asks.c.run == bindparam("run"), when_given("action", task_asks.c.action), tasks.c.status == "open")
    .order_by(tasks.c.id)
    .with_for_update(of=tasks)
)
_END_REQUEST = sql(
    update(task_asks)
    .where(task_asks.c.key == bindparam("key"), task_asks.c.status == "open")
    .values(status="withdrawn", ended_at=bindparam("at"))
)
_STILL_ASKED = sql(
    select(task_asks.c.key).where(task_asks.c.task_id == bindparam("id"), task_asks.c.status == "open").limit(1)
)
_WITHDRAW = sql(
    update(tasks)
    .where(tasks.c.id == bindparam("id"))
    .values(status="withdrawn", resolution=bindparam("reason"), closed_at=bindparam("at"))
)
_own = task_asks.alias("own")
_LANES = sql(
    select(runs.c.lane)
    .distinct()
    .join_from(_own, task_asks, and_(task_asks.c.task_id == _own.c.task_id, task_asks.c.status == "open"))
    .join(runs, runs.c.id == task_asks.c.run)
    .where(_own.c.run == bindparam("run"), any_of(_own.c.action, "actions"), _own.c.status == "open")
)
TaskEffect = OpenedTask | ClosedTask | EscalatedTask


async def lanes_to_lock_for_tasks(connection: Connection, run_row: Run, effects: Sequence[Effect]) -> set[str]:
    """The lanes that receive signals from a step's tasks, and the account by which the tasks are counted."""
    touched = [effect for effect in effects if isinstance(effect, OpenedTask | ClosedTask | EscalatedTask)]
    if not touched:
        return set()
    keys = {run_row.lane, run_row.account_key or run_row.lane}
    escalated = [effect.action for effect in touched if isinstance(effect, EscalatedTask)]
    if escalated:
        keys |= {row["lane"] for row in await fetch_all(connection, _LANES, run=run_row.id, actions=escalated)}
    return keys


async def lock_teams(connection: Connection, run_row: Run, effects: Sequence[Effect], roster: Roster) -> None:
    """Lock the teams of a step that assigns several tasks, so that two such steps do not wait for each other."""
    named = [effect.owner for effect in effects if isinstance(effect, OpenedTask | EscalatedTask)]
    if len(named) > 1:
        scope = run_row.account_key or run_row.lane
        await assignment.lock_turns(connection, assignment.turns_of(roster, named, clock=run_row.clock, scope=scope))


async def apply_task_effect(connection: Connection, run_row: Run, effect: TaskEffect, roster: Roster) -> None:
    """Apply an effect on tasks. The subjects of `lanes_to_lock_for_tasks` are locked."""
    match effect:
        case OpenedTask():
            await _open(connection, run_row, effect, roster)
        case ClosedTask():
            await withdraw_request(connection, run_row.id, effect.reason, effect.at, action=effect.action)
        case EscalatedTask():
            await _escalate(connection, run_row, effect, roster)
        case _:
            assert_never(effect)


async def _open(connection: Connection, run_row: Run, effect: OpenedTask, roster: Roster) -> None:
    if await fetch_one(connection, _ASKED, key=task_key(run_row.id, effect)):
        return
    scope, reason = run_row.account_key or run_row.lane, reason_of(effect.task, run_row.case_key)
    for _ in range(TRIES):
        existing = await fetch_one(connection, _EXISTING, scope=scope, reason=reason)
        if existing is not None:
            await _join(connection, run_row, effect, existing)
            return
        if await _new(connection, run_row, effect, roster, scope, reason):
            return
    raise Contended


async def _new(
    connection: Connection, run_row: Run, effect: OpenedTask, roster: Roster, scope: str, reason: str
) -> bool:
    """Open a task; False if another transaction was quicker, whose task is visible after its commit."""
    account = run_row.account_key or (run_row.lane if run_row.subject_kind == "account" else None)
    to = await assignment.choose_owner(
        connection, roster, task=effect.task, named=effect.owner, account=account, at=effect.at, clock=run_row.clock,
        scope=scope,
    )  # fmt: skip
    new = NewTask(
        key=task_key(run_row.id, effect),
        run=run_row.id,
        subject=run_row.lane,
        journey=run_row.journey,
        action=effect.action,
        task=effect.task,
        named=effect.owner,
        data=effect.data,
        at=effect.at,
        within=effect.within,
        scope=scope,
        reason=reason,
        account=account,
        clock=run_row.clock,
        due_at=effect.due_at,
    )
    opened = await open_task(connection, roster, new, to)
    if opened is None:
        return False
    await _ask(connection, run_row, effect, opened.id)
    if effect.within and opened.due_at is not None:
        await assignment.enqueue_deadline(connection, _asker(run_row, new.key, effect.action), opened.due_at, effect.at)
    return True


async def _join(connection: Connection, run_row: Run, effect: OpenedTask, existing: Mapping[str, Any]) -> None:
    """Add a run to an open task: it receives the deadline, and a sooner one of its own applies to all."""
    await _ask(connection, run_row, effect, existing["id"])
    text = f"also requested by {run_row.journey}"
    await log.write_task_log(connection, existing["id"], effect.at, "joined", log.SELF, text)
    deadline = deadline_after_joining(effect, existing["due_at"])
    if deadline.signalled is not None:
        asker = _asker(run_row, task_key(run_row.id, effect), effect.action)
        await assignment.enqueue_deadline(connection, asker, deadline.signalled, effect.at)
    if deadline.sooner is not None:
        await execute(connection, _SOONER, id=existing["id"], due=deadline.sooner)


async def _ask(connection: Connection, run_row: Run, effect: OpenedTask, identity: int) -> None:
    key = task_key(run_row.id, effect)
    await execute(connection, _ASK, key=key, task=identity, run=run_row.id, action=effect.action, at=effect.at)


def _asker(run_row: Run, key: str, action: str) -> dict[str, str]:
    return {"key": key, "run": run_row.id, "action": action, "lane": run_row.lane}


async def _escalate(connection: Connection, run_row: Run, effect: EscalatedTask, roster: Roster) -> None:
    """Give the task to the next owner, with their deadline. A run that joined later does not lower the level."""
    task = await fetch_one(connection, _OF_RUN, run=run_row.id, action=effect.action)
    if task is None:
        return
    if is_escalated_already(effect, task["level"]):
        ahead = deadline_still_ahead(task["within"], task["due_at"], effect.at)
        if ahead is not None:
            asker = _asker(run_row, task["key"], effect.action)
            await assignment.enqueue_deadline(connection, asker, ahead, effect.at)
        return
    due = await assignment.hand_to_next_level(
        connection,
        roster,
        task,
        effect.owner,
        level=effect.level,
        at=effect.at,
        due=effect.due_at,
    )
    if task["within"] and due is not None:
        for ask in await assignment.runs_asking_for(connection, task["id"]):
            await assignment.enqueue_deadline(connection, ask, due, effect.at)


async def withdraw_request(
    connection: Connection, run_id: str, reason: str, at: datetime, *, action: str | None = None
) -> list[str]:
    """Withdraw a run's request for its task, or all its requests; the last request withdraws the task.

    Returns the actions of these requests.
    """
    asks = await fetch_all(connection, _OF_RUN, run=run_id, action=action)
    for ask in asks:
        await execute(connection, _END_REQUEST, key=ask["key"], at=at)
    for identity in sorted({ask["id"] for ask in asks}):
        if await fetch_one(connection, _STILL_ASKED, id=identity):
            text = f"one of its runs no longer needs it: {reason}"
            await log.write_task_log(connection, identity, at, "left", log.SELF, text)
        else:
            await execute(connection, _WITHDRAW, id=identity, reason=reason, at=at)
            await log.write_task_log(connection, identity, at, "withdrawn", log.SELF, reason)
    return [ask["action"] for ask in asks]
