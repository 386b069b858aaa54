"""What people answer: tasks that are closed."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, StringConstraints
from starlette.responses import Response

from api.keys import Scope
from api.pages import Cursor, Limit, Page, RowId, Word, answer, decode, page
from api.problems import ProblemError
from api.routes import Routes
from api.shapes import TaskView
from store import tasks
from store.database import Database

TAG = "Tasks"
Note = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]


class Closing(BaseModel):
    """How the work ended. The journey hears it as `<action>.closed` with `outcome`, `by` and `note`."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"resolution": "reached", "by": "dana", "note": "call on Monday"}}
    )

    resolution: Word
    by: Word
    note: Note = ""


class Work:
    """The routes of tasks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG)
        add("GET", "/v1/tasks", self.tasks, summary="Work for people", gives=Page[TaskView])
        add("GET", "/v1/tasks/{id}", self.task, summary="One task", gives=TaskView, refuses=("not-found",))
        add(
            "POST",
            "/v1/tasks/{id}/close",
            self.close,
            summary="Close a task",
            gives=TaskView,
            refuses=("not-found", "conflict"),
        )

    async def tasks(
        self,
        owner: Annotated[Word | None, Query()] = None,
        status: Annotated[Literal["open", "closed", "withdrawn"] | None, Query()] = None,
        run: Annotated[Word | None, Query(description="Of one run.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """In the order in which they were opened."""
        place = decode(cursor, int)
        async with self._database.reading() as connection:
            after = place[0] if place else 0
            found = await tasks.list_tasks(
                connection, owner=owner, status=status, run=run, after=after, limit=limit + 1
            )
        return page(found, limit, lambda task: (task["id"],))

    async def task(self, id: RowId) -> Response:
        async with self._database.reading() as connection:
            found = await tasks.get_task(connection, id)
        if found is None:
            raise ProblemError("not-found", "There is no task of this number.")
        return answer(found)

    async def close(self, id: RowId, closing: Closing) -> Response:
        """Closing is a signal: it is committed together with the task's own change."""
        try:
            found = await tasks.close_task(
                self._database, id, resolution=closing.resolution, by=closing.by, note=closing.note
            )
        except tasks.NotOpen as error:
            raise ProblemError("conflict", "The task is closed or withdrawn already.") from error
        if found is None:
            raise ProblemError("not-found", "There is no task of this number.")
        return answer(found)
