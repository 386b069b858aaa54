"""Requests for tasks: runs open, join, escalate and withdraw them, in the step's own transaction (C10).

There is one open task for each account (or person without one) and reason; who asks again joins it. It stays open while
one of its runs still asks. A unique index holds this also where two ask in the same moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, assert_never

from journeys.decision.effects import ClosedTask, Effect, EscalatedTask, OpenedTask, task_key
from journeys.tasks.assignment import Roster
from store.database import Connection, execute, fetch_all, fetch_one, sql
from store.errors import Contended
from store.runs.projection import Run
from store.tasks import assignment
from store.tasks import log as task_log
from store.tasks.opening import NewTask, open_task

TRIES = 3
_ASKED = sql("SELECT 1 FROM task_asks WHERE key = :key")
_STANDING = sql(
    """
    SELECT id, task, owner, level, due_at, within FROM tasks
    WHERE scope_key = :scope AND reason = :reason AND status = 'open' FOR UPDATE
    """
)
_ASK = sql(
    """
    INSERT INTO task_asks (key, task_id, run, action, asked_at) VALUES (:key, :task, :run, :action, :at)
    """
)
_SOONER = sql(
    "UPDATE tasks SET due_at = :due, remind_at = least(remind_at, :due) WHERE id = :id AND (due_at IS NULL OR due_at > :due)"
)
_OF_RUN = sql(
    """
    SELECT t.id, t.task, t.owner, t.level, t.due_at, t.within, t.account_key, a.key, a.action FROM tasks t
    JOIN task_asks a ON a.task_id = t.id AND a.status = 'open'
    WHERE a.run = :run AND (CAST(:action AS text) IS NULL OR a.action = :action) AND t.status = 'open'
    ORDER BY t.id FOR UPDATE OF t
    """
)
_LET_GO = sql("UPDATE task_asks SET status = 'withdrawn', ended_at = :at WHERE key = :key AND status = 'open'")
_STILL_ASKED = sql("SELECT 1 FROM task_asks WHERE task_id = :id AND status = 'open' LIMIT 1")
_WITHDRAW = sql("UPDATE tasks SET status = 'withdrawn', resolution = :reason, closed_at = :at WHERE id = :id")
_LANES = sql(
    """
    SELECT DISTINCT r.lane FROM task_asks own JOIN task_asks o ON o.task_id = own.task_id AND o.status = 'open'
    JOIN runs r ON r.id = o.run WHERE own.run = :run AND own.action = ANY(CAST(:actions AS text[])) AND own.status = 'open'
    """
)
# Of two open tasks of one reason the user's stays, and who asked for the visitor's asks for that one.
_MOVES = (
    sql("UPDATE tasks SET subject_key = :into WHERE subject_key = :gone"),
    sql(
        """
        UPDATE task_asks a SET task_id = stay.id FROM tasks t JOIN tasks stay ON stay.reason = t.reason
        WHERE a.task_id = t.id AND t.scope_key = :gone AND t.status = 'open'
          AND stay.scope_key = :into AND stay.status = 'open'
        """
    ),
    sql(
        """
        WITH joined AS (
          UPDATE tasks t SET status = 'withdrawn', resolution = 'it is task ' || stay.id,
            closed_at = greatest(t.opened_at, stay.opened_at)
          FROM tasks stay WHERE t.scope_key = :gone AND t.status = 'open'
            AND stay.scope_key = :into AND stay.status = 'open' AND stay.reason = t.reason
          RETURNING t.id, t.closed_at, t.resolution),
        stale AS (UPDATE task_mirrors SET version = version + 1 WHERE task_id IN (SELECT id FROM joined))
        INSERT INTO task_log (task_id, at, kind, by, text)
        SELECT id, closed_at, 'withdrawn', 'tenure', resolution FROM joined
        """
    ),
    sql("UPDATE tasks SET scope_key = :into WHERE scope_key = :gone"),
)

TaskEffect = OpenedTask | ClosedTask | EscalatedTask


async def lanes_to_lock_for_tasks(connection: Connection, run_row: Run, effects: Sequence[Effect]) -> set[str]:
    """The lanes that a step's tasks tell something, and the account they are counted by."""
    touched = [effect for effect in effects if isinstance(effect, OpenedTask | ClosedTask | EscalatedTask)]
    if not touched:
        return set()
    keys = {run_row.lane, run_row.account_key or run_row.lane}
    raised = [effect.action for effect in touched if isinstance(effect, EscalatedTask)]
    if raised:
        keys |= {item["lane"] for item in await fetch_all(connection, _LANES, run=run_row.id, actions=raised)}
    return keys


async def apply_task_effect(connection: Connection, run_row: Run, effect: TaskEffect, roster: Roster) -> None:
    """Apply what a decision asks of people. What `to_lock` named is locked."""
    match effect:
        case OpenedTask():
            await _open(connection, run_row, effect, roster)
        case ClosedTask():
            await withdraw_request(connection, run_row.id, effect.reason, effect.at, action=effect.action)
        case EscalatedTask():
            await _escalate(connection, run_row, effect, roster)
        case _:
            assert_never(effect)


def reason_of(task: str, case: str) -> str:
    """What work is about: its kind, and the case of a journey that has cases (two tickets are two tasks)."""
    return f"{task}/{case}" if case else task


async def _open(connection: Connection, run_row: Run, effect: OpenedTask, roster: Roster) -> None:
    if await fetch_one(connection, _ASKED, key=task_key(run_row.id, effect)):
        return
    scope, reason = run_row.account_key or run_row.lane, reason_of(effect.task, run_row.case_key)
    for _ in range(TRIES):
        standing = await fetch_one(connection, _STANDING, scope=scope, reason=reason)
        if standing is not None:
            await _join(connection, run_row, effect, standing)
            return
        if await _new(connection, run_row, effect, roster, scope, reason):
            return
    raise Contended


async def _new(
    connection: Connection, run_row: Run, effect: OpenedTask, roster: Roster, scope: str, reason: str
) -> bool:
    """Whether it could be opened: somebody else may have been quicker, and has it once they have committed."""
    account = run_row.account_key or (run_row.lane if run_row.subject_kind == "account" else None)
    to = await assignment.choose_owner(
        connection, roster, task=effect.task, named=effect.owner, account=account, at=effect.at
    )
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
        await assignment.tell_deadline(connection, _asker(run_row, new.key, effect.action), opened.due_at, effect.at)
    return True


async def _join(connection: Connection, run_row: Run, effect: OpenedTask, standing: Mapping[str, Any]) -> None:
    """One more run asks: it hears of the deadline that stands, and makes one of its own that is sooner everybody's."""
    await _ask(connection, run_row, effect, standing["id"])
    text = f"{run_row.journey} asks for it too"
    await task_log.write_task_log(connection, standing["id"], effect.at, "joined", task_log.SELF, text)
    if effect.within and standing["due_at"] is not None:
        asker = _asker(run_row, task_key(run_row.id, effect), effect.action)
        await assignment.tell_deadline(connection, asker, standing["due_at"], effect.at)
    elif effect.due_at is not None:
        await execute(connection, _SOONER, id=standing["id"], due=effect.due_at)


async def _ask(connection: Connection, run_row: Run, effect: OpenedTask, identity: int) -> None:
    key = task_key(run_row.id, effect)
    await execute(connection, _ASK, key=key, task=identity, run=run_row.id, action=effect.action, at=effect.at)


def _asker(run_row: Run, key: str, action: str) -> dict[str, str]:
    return {"key": key, "run": run_row.id, "action": action, "lane": run_row.lane}


async def _escalate(connection: Connection, run_row: Run, effect: EscalatedTask, roster: Roster) -> None:
    """It goes to the next one, with their deadline. A run that joined later does not take it back down."""
    task = await fetch_one(connection, _OF_RUN, run=run_row.id, action=effect.action)
    if task is None:
        return
    if effect.level <= task["level"]:
        if task["within"] and task["due_at"] is not None and task["due_at"] > effect.at:
            await assignment.tell_deadline(
                connection, _asker(run_row, task["key"], effect.action), task["due_at"], effect.at
            )
        return
    due = await assignment.escalate_task(
        connection,
        roster,
        task,
        effect.owner,
        level=effect.level,
        account=task["account_key"],
        at=effect.at,
        due=effect.due_at,
    )
    if task["within"] and due is not None:
        for ask in await assignment.runs_asking_for(connection, task["id"]):
            await assignment.tell_deadline(connection, ask, due, effect.at)


async def withdraw_request(
    connection: Connection, run_id: str, reason: str, at: datetime, *, action: str | None = None
) -> list[str]:
    """A run no longer asks for its task, or for any; who asked last takes it back. The actions that are let go of."""
    found = await fetch_all(connection, _OF_RUN, run=run_id, action=action)
    for ask in found:
        await execute(connection, _LET_GO, key=ask["key"], at=at)
    for identity in sorted({ask["id"] for ask in found}):
        if await fetch_one(connection, _STILL_ASKED, id=identity):
            text = f"one of its runs no longer asks for it: {reason}"
            await task_log.write_task_log(connection, identity, at, "left", task_log.SELF, text)
        else:
            await execute(connection, _WITHDRAW, id=identity, reason=reason, at=at)
            await task_log.write_task_log(connection, identity, at, "withdrawn", task_log.SELF, reason)
    return [ask["action"] for ask in found]


async def move_to(connection: Connection, gone: str, into: str) -> None:
    """A visitor's tasks are the user's."""
    for statement in _MOVES:
        await execute(connection, statement, gone=gone, into=into)
