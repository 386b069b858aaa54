"""Tasks: lists, changes under a task's locks, and closing, which its runs hear in the same commit (C10)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from journeys.events.inbound import InboundEvent
from journeys.tasks.assignment import Roster
from store.database import Connection, Database, execute, fetch_all, fetch_one, sql
from store.errors import Contended
from store.outbox import queue as outbox
from store.outbox.queue import DerivedSignal
from store.people import subjects
from store.people.test_clocks import now_for, virtual_now
from store.retry import retry_transaction
from store.rows import RowDict, loaded
from store.tasks import assignment, conversations
from store.tasks import log as task_log

T = TypeVar("T")

# A task lives by the clock of its subject: `now` is the real one.
CLOCKS_NOW = virtual_now("t.clock", "CAST(:now AS timestamptz)")
_COLUMNS = f"""
    t.id, t.key, t.run, t.subject_key AS subject, t.account_key AS account, t.journey, t.action, t.task, t.reason,
    t.named, t.owner, t.team, t.why, t.level, t.data, t.status, t.resolution, t.closed_by, t.within, t.opened_at, t.due_at,
    t.remind_at, t.reminded_at, t.snoozed_until, t.first_action_at, t.closed_at, t.clock,
    t.status = 'open' AND t.due_at IS NOT NULL AND t.due_at < {CLOCKS_NOW} AS overdue,
    CAST(extract(epoch FROM t.first_action_at - t.opened_at) AS float8) AS seconds_to_first_action,
    CAST(extract(epoch FROM t.closed_at - t.opened_at) AS float8) AS seconds_to_close,
    (SELECT json_agg(json_build_object('run', a.run, 'action', a.action, 'status', a.status) ORDER BY a.asked_at, a.key)
     FROM task_asks a WHERE a.task_id = t.id) AS asked_by
    FROM tasks t
"""  # noqa: S608 -- every part is ours
_LIST = sql(
    f"""
    SELECT * FROM (SELECT {_COLUMNS}
      WHERE (CAST(:owner AS text) IS NULL OR t.owner = :owner) AND (CAST(:team AS text) IS NULL OR t.team = :team)
        AND (CAST(:status AS text) IS NULL OR t.status = :status)
        AND (CAST(:run AS text) IS NULL OR EXISTS (SELECT 1 FROM task_asks o WHERE o.task_id = t.id AND o.run = :run))
        AND (CAST(:account AS text) IS NULL OR t.account_key = :account)
        AND t.id > :after) AS found
    WHERE CAST(:overdue AS boolean) IS NULL OR overdue = :overdue
    ORDER BY id LIMIT :limit
    """  # noqa: S608
)
_ONE = sql(f"SELECT {_COLUMNS} WHERE t.id = :id")
_HOLD = sql("SELECT status FROM tasks WHERE id = :id FOR UPDATE")
_LANES = sql(
    """
    SELECT r.lane FROM task_asks a JOIN runs r ON r.id = a.run WHERE a.task_id = :id AND a.status = 'open'
    UNION SELECT c.recipient FROM conversations c WHERE c.task_id = :id AND c.closed_at IS NULL
    UNION SELECT r.lane FROM conversations c JOIN runs r ON r.id = c.run WHERE c.task_id = :id AND c.closed_at IS NULL
    """
)
_CLOCK = sql("SELECT clock FROM tasks WHERE id = :id")
_CLOSE = sql(
    """
    UPDATE tasks SET status = 'closed', resolution = :resolution, closed_by = :by, closed_at = :at,
      first_action_at = coalesce(first_action_at, :at) WHERE id = :id
    """
)
_ANSWER = sql("UPDATE task_asks SET status = 'closed', ended_at = :at WHERE task_id = :id AND status = 'open'")
_ACTED = sql("UPDATE tasks SET first_action_at = :at WHERE id = :id AND first_action_at IS NULL")


class TaskNotOpen(Exception):
    """The task is closed or withdrawn already. The caller's turn: look at how it ended."""


class OutcomeNotDeclared(Exception):
    """No task of this kind ends with this word. The caller's turn: give one of `outcomes`."""

    def __init__(self, task: str, outcomes: tuple[str, ...]) -> None:
        super().__init__(f"{task} ends as {', '.join(outcomes)}")
        self.outcomes = outcomes


@dataclass(frozen=True, slots=True)
class TaskClosing:
    """Whether a task was open until now, and the event that its closing causes, for the caller to store."""

    was_open: bool
    event: InboundEvent | None = None


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
    """Tasks in the order in which they were opened; `run` finds also those it joined, `now` is the real one."""
    found = await fetch_all(
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
    return [_task(dict(item)) for item in found]


async def get_task(connection: Connection, identity: int, now: datetime) -> RowDict | None:
    """One task."""
    found = await fetch_one(connection, _ONE, id=identity, now=now)
    return _task(dict(found)) if found else None


def _task(found: RowDict) -> RowDict:
    return {**found, "data": loaded(found["data"]), "asked_by": loaded(found["asked_by"]) or []}


async def change_under_lock(
    database: Database, identity: int, now: datetime, change: Callable[[Connection, RowDict, datetime], Awaitable[T]]
) -> tuple[T, RowDict] | None:
    """Change a task under its locks, at its own clock's instant; what came of it and how it stands. None: no such task.

    The lanes of its runs are locked first, as in every step, so that two who change it at once wait instead of deadlocking.
    """

    async def work(connection: Connection) -> tuple[T, RowDict] | None:
        found = await fetch_one(connection, _CLOCK, id=identity)
        if found is None:
            return None
        lanes = await _lanes(connection, identity)
        await subjects.lock_subjects(connection, lanes)
        await fetch_one(connection, _HOLD, id=identity)
        if not await _lanes(connection, identity) <= lanes:
            raise Contended  # somebody has joined between our look and our lock
        at = await now_for(connection, found["clock"])
        task = await get_task(connection, identity, now)
        assert task is not None, "tasks are never deleted"
        done = await change(connection, task, at)
        after = await get_task(connection, identity, now)
        assert after is not None
        return done, after

    return await retry_transaction(database, work)


async def _lanes(connection: Connection, identity: int) -> set[str]:
    return {item["lane"] for item in await fetch_all(connection, _LANES, id=identity)}


async def close_within(
    connection: Connection, task: RowDict, at: datetime, *, resolution: str, by: str, note: str, roster: Roster
) -> TaskClosing:
    """Close a task that is locked, and tell every run that asked for it `<action>.closed`, once.

    Raises TaskNotOpen when it has ended otherwise, and OutcomeNotDeclared.
    """
    identity = task["id"]
    if (task["status"], task["resolution"]) == ("closed", resolution):
        return TaskClosing(was_open=False)
    if task["status"] != "open":
        raise TaskNotOpen
    words = roster.team.outcomes(task["task"])
    if words and resolution not in words:
        raise OutcomeNotDeclared(task["task"], words)
    asking = await assignment.runs_asking_for(connection, identity)
    await execute(connection, _CLOSE, id=identity, resolution=resolution, by=by, at=at)
    await execute(connection, _ANSWER, id=identity, at=at)
    event = await conversations.close_with_task(connection, identity, by, at)
    text = f"{resolution}: {note}" if note else resolution
    await task_log.write_task_log(connection, identity, at, "closed", by, text)
    for ask in asking:
        await _tell(connection, ask, at, {"outcome": resolution, "by": by, "note": note})
    return TaskClosing(was_open=True, event=event)


async def _tell(connection: Connection, ask: Mapping[str, Any], at: datetime, data: dict[str, str]) -> None:
    name, event_id = f"{ask['action']}.closed", f"{ask['key']}=closed"
    data = {**data, "resolution": data["outcome"]}
    await outbox.enqueue_derived(connection, DerivedSignal(ask["lane"], ask["run"], "signal", name, event_id, at, data))


async def add_task_note(
    database: Database, identity: int, *, text: str, by: str, now: datetime
) -> tuple[bool, RowDict] | None:
    """Write down what was done; whether it was the first thing. Also an ended task takes notes."""

    async def write(connection: Connection, task: RowDict, at: datetime) -> bool:
        await task_log.write_task_log(connection, identity, at, "noted", by, text)
        return task["status"] == "open" and bool(await execute(connection, _ACTED, id=identity, at=at))

    return await change_under_lock(database, identity, now, write)
