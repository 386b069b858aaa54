"""Endpoints that reassign, snooze and annotate a task."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from starlette.responses import Response

from api.http.auth import Scope
from api.http.metrics import Metrics
from api.http.pagination import RowId, json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.tasks.endpoints import NO_TASK, TAG, task_view
from api.tasks.schemas import AssignmentIn, SnoozeIn, TaskNoteIn, TaskView
from journeys.tasks.assignment import Roster
from store.database import Database
from store.rows import RowDict
from store.tasks import reassignment, tasks


class AssignmentRoutes:
    """The routes that change an open task."""

    def __init__(self, database: Database, roster: Roster, metrics: Metrics) -> None:
        self._database = database
        self._roster = roster
        self._metrics = metrics

    def routes(self, routes: Routes) -> None:
        add = partial(
            routes.add, "POST", scope=Scope.OPERATE, tag=TAG, gives=TaskView, refuses=("not-found", "conflict")
        )
        add("/v1/tasks/{id}/assign", self.assign, summary="Give it to somebody else")
        add("/v1/tasks/{id}/snooze", self.snooze, summary="Put it off")
        add("/v1/tasks/{id}/notes", self.note, summary="Write down what was done")

    async def assign(self, id: RowId, wish: AssignmentIn) -> Response:
        """Its log keeps who decided it and why."""
        try:
            found = await reassignment.reassign_task(
                self._database, id, to=wish.to, by=wish.by, why=wish.why, roster=self._roster, now=datetime.now(UTC)
            )
        except tasks.TaskNotOpen as error:
            raise ProblemError("conflict", "The task is closed or withdrawn already.") from error
        return await self._answer(found)

    async def snooze(self, id: RowId, wish: SnoozeIn) -> Response:
        """What was left of its time begins again then. An instant before now brings nothing back: give one to come."""
        now = datetime.now(UTC)
        try:
            found = await reassignment.snooze_task(
                self._database, id, until=wish.until, by=wish.by, why=wish.why, roster=self._roster, now=now
            )
        except tasks.TaskNotOpen as error:
            raise ProblemError("conflict", "The task is closed or withdrawn already.") from error
        except reassignment.SnoozeInvalid as error:
            days = reassignment.FARTHEST.days
            fault = {"detail": f"must be to come, and within {days} days", "pointer": "/body/until"}
            raise ProblemError("invalid-request", "It cannot be put off until then.", [fault]) from error
        return await self._answer(found)

    async def note(self, id: RowId, note: TaskNoteIn) -> Response:
        """Also a task that has ended takes notes."""
        found = await tasks.add_task_note(self._database, id, text=note.text, by=note.by, now=datetime.now(UTC))
        if found is not None and found[0]:
            self._metrics.task_acted(found[1])
        return await self._answer(found[1] if found is not None else None)

    async def _answer(self, found: RowDict | None) -> Response:
        if found is None:
            raise ProblemError("not-found", NO_TASK)
        async with self._database.reading() as connection:
            return json_response(await task_view(connection, self._roster, found))
