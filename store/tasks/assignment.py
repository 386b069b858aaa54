"""Assignment of tasks: owners, turns, handovers, and deadlines for runs.

Turns and loads are read and changed under the lock of a team, so that two tasks at once go to two people of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from journeys.tasks.assignment import AssignmentRequest, AssignmentResult, Roster, assign_task
from journeys.tasks.requests import deadline_of
from store.database import Connection, execute, fetch_all, fetch_one, sql
from store.locks import Lock, lock_parts_until_commit
from store.outbox.derived import DerivedSignal, enqueue_derived
from store.people import subjects
from store.schema import runs, task_asks, tasks, turns
from store.tasks import log as task_log

MOST_COUNTED: Final = 1_000
"""Open tasks of one person are counted up to this number or the largest capacity."""
_LOADS = sql(
    """
    SELECT person.name AS owner, (SELECT count(*) FROM
      (SELECT 1 FROM tasks WHERE owner = person.name AND status = 'open' AND clock IS NULL LIMIT :most) AS counted) AS n
    FROM unnest(CAST(:people AS text[])) AS person(name)
    """
)
_LOADS_ON_CLOCK = sql(
    select(tasks.c.owner, func.count().label("n"))
    .where(tasks.c.status == "open", tasks.c.clock == bindparam("clock"), tasks.c.scope_key == bindparam("scope"))
    .group_by(tasks.c.owner)
)
_TURN = sql(select(turns.c.person).where(turns.c.team == bindparam("team"), turns.c.scope == bindparam("scope")))
_turn = insert(turns).values(team=bindparam("team"), scope=bindparam("scope"), person=bindparam("person"))
_TAKE_TURN = sql(
    _turn.on_conflict_do_update(index_elements=[turns.c.team, turns.c.scope], set_={"person": _turn.excluded.person})
)
_ASSIGN = sql(
    update(tasks)
    .where(tasks.c.id == bindparam("id"))
    .values(
        owner=bindparam("owner"),
        team=bindparam("team"),
        why=bindparam("why"),
        level=bindparam("level"),
        due_at=bindparam("due"),
        remind_at=bindparam("remind"),
        reminded_at=None,
        snoozed_until=bindparam("snoozed"),
    )
)
_ASKING = sql(
    select(task_asks.c.key, task_asks.c.run, task_asks.c.action, runs.c.lane, runs.c.definition)
    .join_from(task_asks, runs, runs.c.id == task_asks.c.run)
    .where(task_asks.c.task_id == bindparam("id"), task_asks.c.status == "open", runs.c.status == "open")
    .order_by(task_asks.c.asked_at, runs.c.number, task_asks.c.key.collate("C"))
)


@dataclass(frozen=True, slots=True)
class TaskHandover:
    """The new owner of a task, its deadline and its reminder."""

    to: AssignmentResult
    due_at: datetime | None
    remind_at: datetime | None


async def choose_owner(
    connection: Connection,
    roster: Roster,
    *,
    task: str,
    named: str,
    account: str | None,
    at: datetime,
    clock: str | None,
    scope: str,
) -> AssignmentResult:
    """The owner of a task. A name that is neither a person nor a team of the roster is kept, without a lock.

    On a test clock loads and turns are counted within the `scope`, the account or person: groups do not affect each other.
    """
    if not roster.knows(named):
        return assign_task(roster, AssignmentRequest(task, named, at), {})
    await lock_turns(connection, turns_of(roster, [named], clock=clock, scope=scope))
    counted = scope if clock is not None else ""
    turn = await fetch_one(connection, _TURN, team=named, scope=counted)
    ask = AssignmentRequest(task, named, at, await _owner_of(connection, roster, account))
    assigned = assign_task(
        roster, ask, await _loads_of(connection, roster, clock, scope), turn["person"] if turn else None
    )
    if assigned.by_turn:
        await execute(connection, _TAKE_TURN, team=named, scope=counted, person=assigned.owner)
    return assigned


def turns_of(roster: Roster, named: Iterable[str], *, clock: str | None, scope: str) -> set[str]:
    """The turns that tasks of these owners take, for `lock_turns`; none for owners that the roster does not know."""
    teams = {roster.team_of(name) for name in named if roster.knows(name)}
    return teams if clock is None else {f"{team}/{scope}" for team in teams}


async def lock_turns(connection: Connection, turns: Collection[str]) -> None:
    """Lock the turns of teams until the commit: all that a transaction takes at once, as `store/locks.py` says.

    Tasks of different teams are assigned at once. A person in two teams may then get one from each, beyond their capacity.
    """
    if turns:
        await lock_parts_until_commit(connection, Lock.ROUTING, turns)


async def _loads_of(connection: Connection, roster: Roster, clock: str | None, scope: str) -> dict[str, int]:
    if clock is None:
        people = roster.team.people
        most = max(MOST_COUNTED, *(person.capacity for person in people.values()))
        rows = await fetch_all(connection, _LOADS, people=list(people), most=most)
    else:
        rows = await fetch_all(connection, _LOADS_ON_CLOCK, clock=clock, scope=scope)
    return {row["owner"]: row["n"] for row in rows}


async def _owner_of(connection: Connection, roster: Roster, account: str | None) -> Any:
    return (await subjects.profile_of(connection, account)).get(roster.team.owner) if account is not None else None


def handover_of(
    roster: Roster, task: Mapping[str, Any], to: AssignmentResult, due: datetime | None, since: datetime
) -> TaskHandover:
    """A handover, with the reminder that belongs to its deadline."""
    working = task["within"] is not None
    return TaskHandover(to, due, roster.remind_at(task["task"], to.owner, due, since, working=working))


async def assign_to(
    connection: Connection, identity: int, handover: TaskHandover, *, level: int, snoozed_until: datetime | None = None
) -> None:
    """Write the owner and the deadline of a task."""
    await execute(
        connection,
        _ASSIGN,
        id=identity,
        owner=handover.to.owner,
        team=handover.to.team,
        why=handover.to.why,
        level=level,
        due=handover.due_at,
        remind=handover.remind_at,
        snoozed=snoozed_until,
    )


async def hand_to_next_level(
    connection: Connection,
    roster: Roster,
    task: Mapping[str, Any],
    named: str,
    *,
    level: int,
    at: datetime,
    due: datetime | None = None,
) -> datetime | None:
    """Give a late task to the next owner; its new deadline.

    The deadline is `due`, else `within` again, in the new owner's working time.
    """
    to = await choose_owner(
        connection, roster, task=task["task"], named=named, account=task["account"], at=at, clock=task["clock"],
        scope=task["account"] or task["subject"],
    )  # fmt: skip
    due = deadline_of(roster, to.owner, at, within=task["within"], due_at=due)
    await assign_to(connection, task["id"], handover_of(roster, task, to, due, at), level=level)
    text = f"overdue with {task['owner']}, so it goes to {to.owner}: {to.why}"
    await task_log.write_task_log(connection, task["id"], at, "escalated", task_log.SELF, text)
    return due


async def runs_asking_for(connection: Connection, identity: int) -> list[Mapping[str, Any]]:
    """The open runs that still ask for a task, with their lanes and definitions, in the order of `asking` (record 0016)."""
    return await fetch_all(connection, _ASKING, id=identity)


async def enqueue_deadline(connection: Connection, ask: Mapping[str, Any], due: datetime, at: datetime) -> None:
    """Put a task's deadline into a run's lane, for the run's own timer. The caller holds the lane."""
    event_id = f"{ask['key']}=due {due.isoformat()}"
    data = {"ask": ask["key"].rpartition("#")[2], "due_at": due.isoformat()}
    await enqueue_derived(
        connection, DerivedSignal(ask["lane"], ask["run"], "deadline", ask["action"], event_id, at, data)
    )
