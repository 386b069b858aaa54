"""Work for people: tasks are listed, read and closed."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Query
from starlette.responses import Response

from api.http.auth import Scope
from api.http.metrics import Metrics
from api.http.pagination import Cursor, Limit, Page, RowId, ShortText, decode, json_response, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.people.endpoints import known_subject
from api.tasks.schemas import TaskClosingIn, TaskLine, TaskView
from journeys.tasks.assignment import Roster
from store.database import Connection, Database
from store.events.changes import close_task
from store.reads import people as queries
from store.reads.tasks import get_task, list_tasks
from store.tasks import log as task_log
from store.tasks import tasks

TAG = "Tasks"
NO_TASK = "There is no task of this number."


class TaskRoutes:
    """The routes of tasks."""

    def __init__(self, database: Database, roster: Roster, metrics: Metrics) -> None:
        self._database = database
        self._roster = roster
        self._metrics = metrics

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG)
        none = ("not-found",)
        add("GET", "/v1/tasks", self.tasks, summary="Work for people", gives=Page[TaskView], refuses=none)
        add("GET", "/v1/tasks/{id}", self.task, summary="One task", gives=TaskView, refuses=none)
        add("GET", "/v1/tasks/{id}/log", self.log, summary="What happened to it", gives=Page[TaskLine], refuses=none)
        closing = ("not-found", "conflict")
        add("POST", "/v1/tasks/{id}/close", self.close, summary="Close a task", gives=TaskView, refuses=closing)

    async def tasks(
        self,
        owner: Annotated[ShortText | None, Query(description="Who has it: a person, or a team it waits for.")] = None,
        team: Annotated[ShortText | None, Query(description="Of everybody in a team.")] = None,
        status: Annotated[Literal["open", "closed", "withdrawn"] | None, Query()] = None,
        overdue: Annotated[bool | None, Query(description="Open and past its deadline, or not.")] = None,
        account: Annotated[ShortText | None, Query(description="Of an account, as senders name it.")] = None,
        run: Annotated[
            ShortText | None, Query(description="Asked for by one run, also if another had asked before.")
        ] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """In the order in which they were opened."""
        place = decode(cursor, int)
        async with self._database.reading() as connection:
            key = (await known_subject(connection, "account", account)).key if account is not None else None
            found = await list_tasks(
                connection,
                now=datetime.now(UTC),
                owner=owner,
                team=team,
                status=status,
                run=run,
                account=key,
                overdue=overdue,
                after=place[0] if place else 0,
                limit=limit + 1,
            )
            shown = [await self._shown(connection, task) for task in found]
        return page_of(shown, limit, lambda task: (task["id"],))

    async def task(self, id: RowId) -> Response:
        async with self._database.reading() as connection:
            found = await get_task(connection, id, datetime.now(UTC))
            if found is None:
                raise ProblemError("not-found", NO_TASK)
            return json_response(await self._shown(connection, found))

    async def _shown(self, connection: Connection, task: dict[str, Any]) -> dict[str, Any]:
        return await task_view(connection, self._roster, task)

    async def log(self, id: RowId, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """Opened, assigned, put off, noted, closed: by whom and why, the oldest first. It only grows."""
        place = decode(cursor, int)
        async with self._database.reading() as connection:
            if await get_task(connection, id, datetime.now(UTC)) is None:
                raise ProblemError("not-found", NO_TASK)
            found = await task_log.read_task_log(connection, id, after=place[0] if place else 0, limit=limit + 1)
        return page_of(found, limit, lambda line: (line["id"],))

    async def close(self, id: RowId, closing: TaskClosingIn) -> Response:
        """Closing is a signal: it is committed together with the task's own change."""
        try:
            found = await close_task(
                self._database,
                id,
                resolution=closing.resolution,
                by=closing.by,
                note=closing.note,
                roster=self._roster,
                now=datetime.now(UTC),
            )
        except tasks.TaskNotOpen as error:
            raise ProblemError("conflict", "The task is closed or withdrawn already.") from error
        except tasks.OutcomeNotDeclared as error:
            fault = {"detail": f"must be one of {', '.join(error.outcomes)}", "pointer": "/body/resolution"}
            raise ProblemError("invalid-request", "No task of this kind ends so.", [fault]) from error
        if found is None:
            raise ProblemError("not-found", NO_TASK)
        now_closed, task = found
        if now_closed:
            self._metrics.task_closed(task)
        async with self._database.reading() as connection:
            return json_response(await self._shown(connection, task))


async def task_view(connection: Connection, roster: Roster, task: dict[str, Any]) -> dict[str, Any]:
    """A task as people read it: with the account's own name, and the words that may close it."""
    account = await queries.account_id(connection, task["account"])
    return {**task, "account": account, "outcomes": roster.team.outcomes(task["task"])}
