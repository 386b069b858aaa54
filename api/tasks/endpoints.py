"""Endpoints of tasks: list, read, close."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Query
from starlette.responses import Response

from api.http.auth import RequestKey
from api.http.metrics import Metrics
from api.http.pagination import Cursor, Limit, Page, RowId, ShortText, json_response, number_in, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.people.endpoints import known_subject
from api.tasks.schemas import TaskClosingIn, TaskDetailView, TaskLine, TaskView
from journeys.access.callers import Scope
from journeys.tasks.assignment import Roster
from store.database import Connection, Database
from store.events.changes import close_task
from store.process_clock import current_instant
from store.reads import people as queries
from store.reads.task_context import read_task_context
from store.reads.tasks import get_task, list_tasks
from store.tasks import log as task_log
from store.tasks import tasks

TAG = "Tasks"
NO_TASK = "There is no task with this id."


class TaskRoutes:
    """Routes of tasks."""

    def __init__(self, database: Database, roster: Roster, metrics: Metrics) -> None:
        self._database = database
        self._roster = roster
        self._metrics = metrics

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG)
        unknown = ("not-found",)
        add(
            "GET",
            "/v1/tasks",
            self.tasks,
            scope=Scope.READ,
            summary="List tasks",
            gives=Page[TaskView],
            refuses=unknown,
        )
        one = TaskDetailView
        add("GET", "/v1/tasks/{id}", self.task, scope=Scope.READ, summary="Get a task", gives=one, refuses=unknown)
        add(
            "GET",
            "/v1/tasks/{id}/log",
            self.log,
            scope=Scope.READ,
            summary="Log of a task",
            gives=Page[TaskLine],
            refuses=unknown,
        )
        closing = ("not-found", "conflict", "clock-advancing")
        add("POST", "/v1/tasks/{id}/close", self.close, summary="Close a task", gives=TaskView, refuses=closing)

    async def tasks(
        self,
        owner: Annotated[
            ShortText | None, Query(description="Owner: a person, or a team in whose queue it is.")
        ] = None,
        team: Annotated[ShortText | None, Query(description="Only tasks of a team's members.")] = None,
        status: Annotated[Literal["open", "closed", "withdrawn"] | None, Query()] = None,
        overdue: Annotated[
            bool | None, Query(description="true: only open tasks past their deadline; false: only others.")
        ] = None,
        account: Annotated[ShortText | None, Query(description="Only tasks of this account, by id.")] = None,
        run: Annotated[
            ShortText | None, Query(description="Only tasks that this run requested, even if another run did so first.")
        ] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """In the order in which they were opened."""
        after = number_in(cursor) or 0
        async with self._database.reading() as connection:
            key = (await known_subject(connection, "account", account)).key if account is not None else None
            rows = await list_tasks(
                connection,
                now=current_instant(),
                owner=owner,
                team=team,
                status=status,
                run=run,
                account=key,
                overdue=overdue,
                after=after,
                limit=limit + 1,
            )
            items = [await self._shown(connection, task) for task in rows]
        return page_of(items, limit)

    async def task(self, id: RowId) -> Response:
        """A task with its context: person, account, promise, messages sent and the decision that opened it."""
        async with self._database.reading() as connection:
            row = await get_task(connection, id, current_instant())
            if row is None:
                raise ProblemError("not-found", NO_TASK)
            context = await read_task_context(connection, row)
            return json_response({**await self._shown(connection, row), "context": context})

    async def _shown(self, connection: Connection, task: dict[str, Any]) -> dict[str, Any]:
        return await task_view(connection, self._roster, task)

    async def log(self, id: RowId, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """Opened, assigned, snoozed, noted, closed: by whom and why, oldest first. No line is ever deleted."""
        after = number_in(cursor) or 0
        async with self._database.reading() as connection:
            if await get_task(connection, id, current_instant()) is None:
                raise ProblemError("not-found", NO_TASK)
            lines = await task_log.read_task_log(connection, id, after=after, limit=limit + 1)
        return page_of(lines, limit)

    async def close(self, id: RowId, closing: TaskClosingIn, caller: RequestKey) -> Response:
        """Close a task. The signal of its closing is committed in the same transaction."""
        try:
            result = await close_task(
                self._database,
                id,
                resolution=closing.resolution,
                by=caller.acts_for(closing.by),
                note=closing.note,
                roster=self._roster,
                now=current_instant(),
            )
        except tasks.TaskNotOpen as error:
            raise ProblemError("conflict", "The task is already closed or withdrawn.") from error
        except tasks.OutcomeNotDeclared as error:
            fault = {"detail": f"must be one of {', '.join(error.outcomes)}", "pointer": "/body/resolution"}
            raise ProblemError("invalid-request", "This kind of task has no such outcome.", [fault]) from error
        if result is None:
            raise ProblemError("not-found", NO_TASK)
        now_closed, task = result
        if now_closed:
            self._metrics.task_closed(task)
        async with self._database.reading() as connection:
            return json_response(await self._shown(connection, task))


async def task_view(connection: Connection, roster: Roster, task: dict[str, Any]) -> dict[str, Any]:
    """A task with the account's id and the outcomes that may close it."""
    account = await queries.account_id(connection, task["account"])
    return {**task, "account": account, "outcomes": roster.team.outcomes(task["task"])}
