"""Endpoints of runs: state, explanation, pause, resume, cancel.

A run's id contains slashes. In a path it is one percent-encoded segment (`journey%2Fwin-back%2F…`); plain slashes are
accepted too.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import Path
from starlette.requests import Request
from starlette.responses import Response

from api.http.auth import RequestKey
from api.http.pagination import Cursor, Limit, Page, decode, json_response, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.http.schemas import RunView
from api.runs.schemas import CancelRequest, ExplanationLine, OperatorRequest, ResumeRequest, RunExplanation
from api.runs.temporal import NotDecided, RunCommands
from journeys.access.callers import Scope
from journeys.protocol import wire
from store.database import Database
from store.operations.closing import close_run
from store.people.test_clocks import hold_clocks
from store.reads import timeline as timelines
from store.reads.runs import get_run
from store.retry import retry_transaction

TAG = "Runs"
MOST_ID = 4096
"""Characters of a run's id in a path: ids of before had the whole case in them, so that some fit into no workflow id."""
RunId = Annotated[str, Path(max_length=MOST_ID, description="A run's id, percent-encoded.")]
_EXAMPLE_ID = "journey/win-back/u_0f3a9c1d2e4b5a69/-/1"


class RunRoutes:
    """Routes below `/v1/runs`."""

    def __init__(self, database: Database, engine: RunCommands) -> None:
        self._database = database
        self._engine = engine

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG)
        refuses = ("not-found", "conflict", "engine-unavailable")
        commands = (*refuses, "clock-advancing")
        add(
            "GET",
            "/v1/runs/{run:run}",
            self.one,
            scope=Scope.READ,
            summary="State of a run",
            gives=RunView,
            fast=True,
            refuses=refuses,
            extra=_ONE,
        )
        below = "/v1/runs/{run:run}"
        add(
            "GET",
            f"{below}/timeline",
            self.timeline,
            scope=Scope.READ,
            summary="Timeline of a run",
            gives=Page[ExplanationLine],
            refuses=("not-found",),
        )
        add(
            "GET",
            f"{below}/explain",
            self.explain,
            scope=Scope.READ,
            summary="What a run waits for",
            gives=RunExplanation,
            refuses=refuses,
        )
        add("POST", f"{below}/pause", self.pause, summary="Pause a run", gives=RunView, refuses=commands)
        add("POST", f"{below}/resume", self.resume, summary="Resume a run", gives=RunView, refuses=commands)
        add("POST", f"{below}/cancel", self.cancel, summary="Cancel a run", gives=RunView, refuses=commands)

    async def one(self, request: Request) -> Response:
        """The run as of its last step. `consistent=true` adds the state inside the workflow: slower, and always current."""
        run = request.path_params["run"]
        view = await self._row(run)
        consistent = request.query_params.get("consistent", "false")
        if consistent not in {"true", "false"}:
            fault = {"detail": "must be true or false", "pointer": "/query/consistent"}
            raise ProblemError("invalid-request", "Invalid values: 1.", [fault])
        if consistent == "true":
            view["live"] = await self._engine.state(run)
        return json_response(view)

    async def _row(self, run: str) -> dict[str, Any]:
        async with self._database.reading() as connection:
            row = await get_run(connection, run)
        if row is None:
            raise ProblemError("not-found", "No accepted event has started a run with this id.")
        return row

    async def timeline(self, run: RunId, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """Every decision in order, as sentences."""
        position = decode(cursor, int, int)
        after = (_small(position[0]), _small(position[1])) if position else None
        await self._row(run)
        async with self._database.reading() as connection:
            lines = await timelines.timeline_of_run(connection, run, after, limit + 1)
        return page_of(lines, limit, lambda line: (line["step"], line["n"]))

    async def explain(self, run: RunId) -> Response:
        """Read from the workflow itself."""
        await self._row(run)
        return json_response({"lines": await self._engine.explain(run)})

    async def pause(self, run: RunId, request: OperatorRequest, caller: RequestKey) -> Response:
        """Signals, goal and exit are still decided; timers and effects are held until the run is resumed."""
        return await self._command(run, wire.UPDATE_PAUSE, request, caller)

    async def resume(self, run: RunId, request: ResumeRequest, caller: RequestKey) -> Response:
        """Held effects go to the gate; anchors and the goal's window have not moved."""
        return await self._command(run, wire.UPDATE_RESUME, request, caller)

    async def cancel(self, run: RunId, request: CancelRequest, caller: RequestKey) -> Response:
        """Queued messages are withdrawn; sent ones stay in the ledger.

        A run that no workflow decides for is closed in the database: its workflow has ended, or nothing answers.
        """
        try:
            return await self._command(run, wire.UPDATE_CANCEL, request, caller)
        except NotDecided:
            why = f"cancelled by {caller.acts_for(request.by)}: {request.reason}"
            if not await retry_transaction(
                self._database, partial(close_run, identity=run, outcome="cancelled", why=why)
            ):
                raise
            await self._engine.abandon(run)
        return json_response(await self._row(run))

    async def _command(self, run: str, update: str, request: OperatorRequest, caller: RequestKey) -> Response:
        """It is decided at the clock's now, so not while that moves."""
        clock = (await self._row(run))["clock"]
        if clock is not None:
            async with self._database.reading() as connection:
                await hold_clocks(connection, [clock])
        await self._engine.command(run, update, {**request.model_dump(), "by": caller.acts_for(request.by)})
        return json_response(await self._row(run))


def _small(value: int) -> int:
    """The value within 32 bits, as steps and lines are; a forged cursor beyond that is past the end."""
    return max(-1, min(value, 2**31 - 1))


_ONE: Mapping[str, Any] = {
    "parameters": [
        {
            "name": "run",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "maxLength": MOST_ID},
            "description": "A run's id, percent-encoded.",
            "example": _EXAMPLE_ID,
        },
        {
            "name": "consistent",
            "in": "query",
            "required": False,
            "schema": {"type": "boolean", "default": False},
            "description": "Also read the state inside the workflow.",
        },
    ]
}
