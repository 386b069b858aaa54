"""Tasks: changes under their locks, and closing with signals to runs (C10)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import bindparam, func, select, union, update

from journeys.events.inbound import InboundEvent
from journeys.tasks.assignment import Roster
from store.database import Connection, Database, execute, fetch_all, fetch_one, sql
from store.definitions.registry import fields_read
from store.errors import Contended
from store.outbox.derived import DerivedSignal, enqueue_derived
from store.people import subjects
from store.people.test_clocks import now_for, now_from_outside
from store.reads.tasks import get_task
from store.retry import retry_transaction
from store.rows import RowDict
from store.schema import conversations as conversations_table
from store.schema import runs, task_asks, tasks
from store.schema.base import Timestamp
from store.tasks import assignment, conversations
from store.tasks import log as task_log

T = TypeVar("T")

_LOCK = sql(select(tasks.c.status).where(tasks.c.id == bindparam("id")).with_for_update())
_of_task = (conversations_table.c.task_id == bindparam("id"), conversations_table.c.closed_at.is_(None))
_LANES = sql(
    union(
        select(runs.c.lane)
        .join_from(task_asks, runs, runs.c.id == task_asks.c.run)
        .where(task_asks.c.task_id == bindparam("id"), task_asks.c.status == "open"),
        select(conversations_table.c.recipient).where(*_of_task),
        select(runs.c.lane)
        .join_from(conversations_table, runs, runs.c.id == conversations_table.c.run)
        .where(*_of_task),
    )
)
_CLOCK = sql(select(tasks.c.clock).where(tasks.c.id == bindparam("id")))
_at = bindparam("at", type_=Timestamp)
_CLOSE = sql(
    update(tasks)
    .where(tasks.c.id == bindparam("id"))
    .values(
        status="closed",
        resolution=bindparam("resolution"),
        closed_by=bindparam("by"),
        closed_at=_at,
        first_action_at=func.coalesce(tasks.c.first_action_at, _at),
    )
)
_ANSWER = sql(
    update(task_asks)
    .where(task_asks.c.task_id == bindparam("id"), task_asks.c.status == "open")
    .values(status="closed", ended_at=bindparam("at"))
)
_ACTED = sql(
    update(tasks)
    .where(tasks.c.id == bindparam("id"), tasks.c.first_action_at.is_(None))
    .values(first_action_at=bindparam("at"))
)


class TaskNotOpen(Exception):
    """The task is closed or withdrawn already. The caller's turn: read how it ended."""


class OutcomeNotDeclared(Exception):
    """Tasks of this kind have no such outcome. The caller's turn: give one of `outcomes`."""

    def __init__(self, task: str, outcomes: tuple[str, ...]) -> None:
        super().__init__(f"{task} ends as {', '.join(outcomes)}")
        self.outcomes = outcomes


@dataclass(frozen=True, slots=True)
class TaskClosing:
    """Whether a task was open until now, and the event of its closing, for the caller to store."""

    was_open: bool
    event: InboundEvent | None = None


async def change_under_lock(
    database: Database,
    identity: int,
    now: datetime,
    change: Callable[[Connection, RowDict, datetime], Awaitable[T]],
    *,
    outside: bool = True,
) -> tuple[T, RowDict] | None:
    """Change a task under its locks, at its own clock's instant; the result, and the task afterwards.

    None if there is no such task. The lanes of its runs are locked first, as in every step, so that two changes at once
    wait instead of deadlocking. Raises ClockAdvancing for a change from `outside` while the task's clock advances.
    """

    async def work(connection: Connection) -> tuple[T, RowDict] | None:
        row = await fetch_one(connection, _CLOCK, id=identity)
        if row is None:
            return None
        lanes = await _lanes(connection, identity)
        await subjects.lock_subjects(connection, lanes)
        await fetch_one(connection, _LOCK, id=identity)
        if not await _lanes(connection, identity) <= lanes:
            raise Contended  # a run has joined between the read and the lock
        at = await (now_from_outside if outside else now_for)(connection, row["clock"])
        task = await get_task(connection, identity, now)
        assert task is not None, "tasks are never deleted"
        result = await change(connection, task, at)
        after = await get_task(connection, identity, now)
        assert after is not None
        return result, after

    return await retry_transaction(database, work)


async def _lanes(connection: Connection, identity: int) -> set[str]:
    return {row["lane"] for row in await fetch_all(connection, _LANES, id=identity)}


async def close_within(
    connection: Connection, task: RowDict, at: datetime, *, resolution: str, by: str, note: str, roster: Roster
) -> TaskClosing:
    """Close a task that is locked, and emit `<action>.closed` to every run that asked for it, once.

    Raises TaskNotOpen if it has ended differently, and OutcomeNotDeclared.
    """
    identity = task["id"]
    if (task["status"], task["resolution"]) == ("closed", resolution):
        return TaskClosing(was_open=False)
    if task["status"] != "open":
        raise TaskNotOpen
    outcomes = roster.team.outcomes(task["task"])
    if outcomes and resolution not in outcomes:
        raise OutcomeNotDeclared(task["task"], outcomes)
    asking = await assignment.runs_asking_for(connection, identity)
    await execute(connection, _CLOSE, id=identity, resolution=resolution, by=by, at=at)
    await execute(connection, _ANSWER, id=identity, at=at)
    event = await conversations.close_with_task(connection, identity, by, at)
    text = f"{resolution}: {note}" if note else resolution
    await task_log.write_task_log(connection, identity, at, "closed", by, text)
    for ask in asking:
        await _enqueue_closed(connection, ask, at, {"outcome": resolution, "by": by, "note": note})
    return TaskClosing(was_open=True, event=event)


async def _enqueue_closed(connection: Connection, ask: Mapping[str, Any], at: datetime, data: dict[str, str]) -> None:
    name, event_id = f"{ask['action']}.closed", f"{ask['key']}=closed"
    data = {**data, "resolution": data["outcome"]}
    reads = await fields_read(connection, ask["definition"])
    signal = DerivedSignal(ask["lane"], ask["run"], "signal", name, event_id, at, data, reads)
    await enqueue_derived(connection, signal)


async def add_task_note(
    database: Database, identity: int, *, text: str, by: str, now: datetime
) -> tuple[bool, RowDict] | None:
    """Add a note to a task's log; whether it was the first action. Ended tasks take notes too."""

    async def write(connection: Connection, task: RowDict, at: datetime) -> bool:
        await task_log.write_task_log(connection, identity, at, "noted", by, text)
        return task["status"] == "open" and bool(await execute(connection, _ACTED, id=identity, at=at))

    return await change_under_lock(database, identity, now, write)
