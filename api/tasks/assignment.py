"""Endpoints that reassign, snooze and annotate a task."""

from __future__ import annotations

from functools import partial

from starlette.responses import Response

from api.http.auth import RequestKey
from api.http.metrics import Metrics
from api.http.pagination import RowId, json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.tasks.endpoints import NO_TASK, TAG, task_view
from api.tasks.schemas import AssignmentIn, SnoozeIn, TaskNoteIn, TaskView
from journeys.access.callers import Scope
from journeys.tasks.assignment import Roster
from store.database import Database
from store.process_clock import current_instant
from store.rows import RowDict
from store.tasks import reassignment, tasks


class AssignmentRoutes:
    """Routes that change an open task."""

    def __init__(self, database: Database, roster: Roster, metrics: Metrics) -> None:
        self._database = database
        self._roster = roster
        self._metrics = metrics

    def routes(self, routes: Routes) -> None:
        add = partial(
            routes.add,
            "POST",
            scope=Scope.OPERATE,
            tag=TAG,
            gives=TaskView,
            refuses=("not-found", "conflict", "clock-advancing"),
        )
        add("/v1/tasks/{id}/assign", self.assign, summary="Reassign a task")
        add("/v1/tasks/{id}/snooze", self.snooze, summary="Snooze a task")
        add("/v1/tasks/{id}/notes", self.note, summary="Add a note to a task")

    async def assign(self, id: RowId, request: AssignmentIn, caller: RequestKey) -> Response:
        """Reassign a task. Its log keeps by whom and why. A name like that of a person or team of the team file is refused."""
        if (near := self._roster.near(request.to)) is not None:
            fault = {"detail": f"is no person or team; did you mean {near}?", "pointer": "/body/to"}
            raise ProblemError("invalid-request", f"Nobody in team.yaml is called {request.to}.", [fault])
        try:
            task = await reassignment.reassign_task(
                self._database,
                id,
                to=request.to,
                by=caller.acts_for(request.by),
                why=request.why,
                roster=self._roster,
                now=current_instant(),
            )
        except tasks.TaskNotOpen as error:
            raise ProblemError("conflict", "The task is already closed or withdrawn.") from error
        return await self._answer(task)

    async def snooze(self, id: RowId, request: SnoozeIn, caller: RequestKey) -> Response:
        """Snooze a task until a future instant. What was left of its working time begins again then."""
        now = current_instant()
        try:
            task = await reassignment.snooze_task(
                self._database,
                id,
                until=request.until,
                by=caller.acts_for(request.by),
                why=request.why,
                roster=self._roster,
                now=now,
            )
        except tasks.TaskNotOpen as error:
            raise ProblemError("conflict", "The task is already closed or withdrawn.") from error
        except reassignment.SnoozeInvalid as error:
            days = reassignment.FARTHEST.days
            fault = {"detail": f"must be in the future, within {days} days", "pointer": "/body/until"}
            raise ProblemError("invalid-request", "The task cannot be snoozed until then.", [fault]) from error
        return await self._answer(task)

    async def note(self, id: RowId, note: TaskNoteIn, caller: RequestKey) -> Response:
        """Add a note. Closed and withdrawn tasks can have notes too."""
        noted = await tasks.add_task_note(
            self._database, id, text=note.text, by=caller.acts_for(note.by), now=current_instant()
        )
        if noted is not None and noted[0]:
            self._metrics.task_acted(noted[1])
        return await self._answer(noted[1] if noted is not None else None)

    async def _answer(self, task: RowDict | None) -> Response:
        if task is None:
            raise ProblemError("not-found", NO_TASK)
        async with self._database.reading() as connection:
            return json_response(await task_view(connection, self._roster, task))
