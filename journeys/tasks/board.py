"""TaskBoard: tasks in memory with owners, loads, turns, deadlines and requesting runs (C10).

It follows the rules that `store/tasks` follows on rows, and returns the deadlines that runs have to receive.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from journeys.decision.effects import EscalatedTask, OpenedTask
from journeys.tasks.assignment import AssignmentRequest, Roster, assign_task
from journeys.tasks.requests import (
    deadline_after_joining,
    deadline_of,
    deadline_still_ahead,
    is_escalated_already,
    reason_of,
)


class TaskAccount(Protocol):
    """The account of a task, whose fields may name the manager of the account."""

    @property
    def profile(self) -> Mapping[str, Any]: ...


class RequestingRun(Protocol):
    """A run that requests tasks; `number` is its place among all runs in the order in which they were opened."""

    @property
    def number(self) -> int: ...
    @property
    def is_open(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """One run's request for a task: the run, its action, and the request's id within the run. `name` is unique."""

    run: RequestingRun
    action: str
    request: str
    at: datetime
    name: str = ""


@dataclass(frozen=True, slots=True)
class TaskDeadline:
    """A deadline that the run of a request has to receive."""

    of: TaskRequest
    due_at: datetime


@dataclass(slots=True, eq=False)
class BoardTask:
    """A task; `name` is that of what opened it, `requests` are those that still ask for it, in the order in which they came."""

    number: int
    name: str
    task: str
    scope: Hashable
    reason: str
    account: TaskAccount | None
    opened_at: datetime
    within: str | None
    owner: str = ""
    why: str = ""
    level: int = 0
    due_at: datetime | None = None
    status: Literal["open", "closed", "withdrawn"] = "open"
    requests: list[TaskRequest] = field(default_factory=list)


class TaskBoard:
    """The tasks of a simulation. As on a test clock, loads and turns are counted within a scope: groups are independent."""

    def __init__(self, roster: Roster) -> None:
        self.roster = roster
        self.opened = 0
        self._open: dict[tuple[Hashable, str], BoardTask] = {}
        self._of_run: dict[tuple[int, str], list[BoardTask]] = {}
        self._loads: defaultdict[Hashable, Counter[str]] = defaultdict(Counter)
        self._turns: dict[tuple[Hashable, str], str] = {}

    @property
    def tasks(self) -> tuple[BoardTask, ...]:
        """The open tasks, in the order in which they were opened."""
        return tuple(sorted(self._open.values(), key=lambda task: task.number))

    def open_task(self, scope: Hashable, reason: str) -> BoardTask | None:
        """The open task of a scope and reason."""
        return self._open.get((scope, reason))

    # -- requests of runs ------------------------------------------------------------------------------------------

    def request(
        self, request: TaskRequest, effect: OpenedTask, *, scope: Hashable, case: str, account: TaskAccount | None
    ) -> tuple[BoardTask, list[TaskDeadline]]:
        """Open a task, or join the open one of the same scope and reason; with the deadline for the run."""
        reason = reason_of(effect.task, case)
        task = self._open.get((scope, reason))
        if task is not None:
            self._add(task, request)
            deadline = deadline_after_joining(effect, task.due_at)
            task.due_at = deadline.sooner or task.due_at
            return task, [] if deadline.signalled is None else [TaskDeadline(request, deadline.signalled)]
        task = self.open(
            request.name, effect.task, effect.owner, effect.at, scope=scope, reason=reason, account=account,
            within=effect.within, due_at=effect.due_at,
        )  # fmt: skip
        self._add(task, request)
        return task, [TaskDeadline(request, task.due_at)] if task.within and task.due_at is not None else []

    def release(self, run: RequestingRun, action: str) -> list[BoardTask]:
        """End a run's requests for an action; the tasks that are withdrawn because nobody requests them any more."""
        withdrawn = []
        for task in self._of_run.pop((run.number, action), ()):
            task.requests = [request for request in task.requests if (request.run, request.action) != (run, action)]
            if not task.requests:
                self._end(task, "withdrawn")
                withdrawn.append(task)
        return withdrawn

    def escalate(self, run: RequestingRun, effect: EscalatedTask) -> tuple[BoardTask | None, list[TaskDeadline]]:
        """Give a late task to the next owner; with the deadlines for its runs. None if it is escalated already."""
        tasks = self._of_run.get((run.number, effect.action))
        if not tasks:
            return None, []
        task = tasks[0]
        if is_escalated_already(effect, task.level):
            ahead = deadline_still_ahead(task.within, task.due_at, effect.at)
            own = next(request for request in task.requests if (request.run, request.action) == (run, effect.action))
            return None, [TaskDeadline(own, ahead)] if ahead is not None else []
        self.hand_on(task, effect.owner, effect.at, level=effect.level, due_at=effect.due_at)
        if not task.within or task.due_at is None:
            return task, []
        return task, [TaskDeadline(request, task.due_at) for request in asking(task)]

    def _add(self, task: BoardTask, request: TaskRequest) -> None:
        task.requests.append(request)
        tasks = self._of_run.setdefault((request.run.number, request.action), [])
        if task not in tasks:  # a run may request the same task again
            tasks.append(task)

    # -- tasks -----------------------------------------------------------------------------------------------------

    def open(
        self,
        name: str,
        kind: str,
        named: str,
        at: datetime,
        *,
        scope: Hashable,
        reason: str,
        account: TaskAccount | None,
        within: str | None,
        due_at: datetime | None = None,
    ) -> BoardTask:
        """Open a task for the person, team or name `named`."""
        self.opened += 1
        task = BoardTask(self.opened, name, kind, scope, reason, account, at, within)
        self._assign(task, named, at)
        task.due_at = deadline_of(self.roster, task.owner, at, within=within, due_at=due_at)
        self._open[scope, reason] = task
        return task

    def hand_on(self, task: BoardTask, named: str, at: datetime, *, level: int, due_at: datetime | None = None) -> None:
        """Give a task to another owner at an escalation level, who has `within` again unless `due_at` is known."""
        self._assign(task, named, at)
        task.level = level
        task.due_at = deadline_of(self.roster, task.owner, at, within=task.within, due_at=due_at)

    def close(self, task: BoardTask) -> list[TaskRequest]:
        """Close an open task; the requests whose runs have to receive it."""
        requests = asking(task)
        self._end(task, "closed")
        return requests

    def move_scope(self, gone: Hashable, into: Hashable) -> None:
        """Give a visitor's tasks to the user. Of two open tasks with one reason the user's stays, with all requests."""
        for task in [task for task in self.tasks if task.scope == gone]:
            stays = self._open.get((into, task.reason))
            if stays is None:
                del self._open[gone, task.reason]
                self._loads[gone][task.owner] -= 1
                self._loads[into][task.owner] += 1
                task.scope = into
                self._open[into, task.reason] = task
            else:
                requests = task.requests
                self._end(task, "withdrawn")
                for request in requests:
                    self._add(stays, request)

    def _assign(self, task: BoardTask, named: str, at: datetime) -> None:
        """Choose the owner. The load of the owner before still has the task when the next one is chosen."""
        manager = task.account.profile.get(self.roster.team.owner) if task.account is not None else None
        request = AssignmentRequest(task.task, named, at, manager)
        loads = self._loads[task.scope]
        result = assign_task(self.roster, request, loads, self._turns.get((task.scope, named)))
        if result.by_turn:
            self._turns[task.scope, named] = result.owner
        if task.owner:
            loads[task.owner] -= 1
        loads[result.owner] += 1
        task.owner, task.why = result.owner, result.why

    def _end(self, task: BoardTask, status: Literal["closed", "withdrawn"]) -> None:
        for request in task.requests:
            tasks = self._of_run.get((request.run.number, request.action), [])
            if task in tasks:
                tasks.remove(task)
        task.status, task.requests = status, []
        self._loads[task.scope][task.owner] -= 1
        del self._open[task.scope, task.reason]


def asking(task: BoardTask) -> list[TaskRequest]:
    """The requests of open runs: the earliest first, of one instant by the order in which their runs were opened."""
    requests = [request for request in task.requests if request.run.is_open]
    return sorted(requests, key=lambda request: (request.at, request.run.number, request.name))
