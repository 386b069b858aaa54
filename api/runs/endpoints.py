"""Endpoints of runs: state, explanation, pause, resume, cancel.

A run's id holds slashes. In a path it is one percent-encoded segment (`journey%2Fwin-back%2F…`); written with its
slashes it is understood too, because its shape is fixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import Path
from starlette.requests import Request
from starlette.responses import Response

from api.http.auth import Scope
from api.http.pagination import Cursor, Limit, Page, decode, json_response, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.http.schemas import RunView
from api.runs.schemas import CancelRequest, ExplanationLine, OperatorRequest, ResumeRequest, RunExplanation
from api.runs.temporal import RunCommands
from journeys.protocol import wire
from store.database import Database
from store.reads import timeline as timelines
from store.reads.runs import get_run

TAG = "Runs"
RunId = Annotated[str, Path(max_length=1024, description="A run's id, percent-encoded.")]
_EXAMPLE_ID = "journey/win-back/u_0f3a9c1d2e4b5a69/-/1"


class RunRoutes:
    """The routes below `/v1/runs`."""

    def __init__(self, database: Database, engine: RunCommands) -> None:
        self._database = database
        self._engine = engine

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG)
        asks = ("not-found", "conflict", "engine-unavailable")
        add(
            "GET",
            "/v1/runs/{run:run}",
            self.one,
            summary="Where a run is",
            gives=RunView,
            fast=True,
            refuses=asks,
            extra=_ONE,
        )
        below = "/v1/runs/{run:run}"
        add(
            "GET",
            f"{below}/timeline",
            self.timeline,
            summary="Why it is where it is",
            gives=Page[ExplanationLine],
            refuses=("not-found",),
        )
        add("GET", f"{below}/explain", self.explain, summary="What it waits for", gives=RunExplanation, refuses=asks)
        add("POST", f"{below}/pause", self.pause, summary="Hold timers and effects", gives=RunView, refuses=asks)
        add("POST", f"{below}/resume", self.resume, summary="Go on", gives=RunView, refuses=asks)
        add("POST", f"{below}/cancel", self.cancel, summary="End it", gives=RunView, refuses=asks)

    async def one(self, request: Request) -> Response:
        """As of its last step; with `consistent=true` also the state inside the workflow, slower and always right."""
        run = request.path_params["run"]
        found = await self._row(run)
        asked = request.query_params.get("consistent", "false")
        if asked not in {"true", "false"}:
            fault = {"detail": "must be true or false", "pointer": "/query/consistent"}
            raise ProblemError("invalid-request", "1 of its values cannot be used.", [fault])
        if asked == "true":
            found["live"] = await self._engine.state(run)
        return json_response(found)

    async def _row(self, run: str) -> dict[str, Any]:
        async with self._database.reading() as connection:
            found = await get_run(connection, run)
        if found is None:
            raise ProblemError("not-found", "No accepted event has opened such a run.")
        return found

    async def timeline(self, run: RunId, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """Every decision in order, in sentences."""
        place = decode(cursor, int, int)
        after = (_small(place[0]), _small(place[1])) if place else None
        await self._row(run)
        async with self._database.reading() as connection:
            found = await timelines.timeline_of_run(connection, run, after, limit + 1)
        return page_of(found, limit, lambda line: (line["step"], line["n"]))

    async def explain(self, run: RunId) -> Response:
        """Asked of the workflow itself."""
        await self._row(run)
        return json_response({"lines": await self._engine.explain(run)})

    async def pause(self, run: RunId, wish: OperatorRequest) -> Response:
        """Signals, goal and exit still decide; timers stand and effects are held until it is resumed."""
        return await self._command(run, wire.UPDATE_PAUSE, wish)

    async def resume(self, run: RunId, wish: ResumeRequest) -> Response:
        """Held effects meet the gate; anchors and the goal's window have not moved."""
        return await self._command(run, wire.UPDATE_RESUME, wish)

    async def cancel(self, run: RunId, wish: CancelRequest) -> Response:
        """What is queued is withdrawn; what was sent stays in the ledger."""
        return await self._command(run, wire.UPDATE_CANCEL, wish)

    async def _command(self, run: str, update: str, wish: OperatorRequest) -> Response:
        await self._row(run)
        await self._engine.command(run, update, wish.model_dump())
        return json_response(await self._row(run))


def _small(value: int) -> int:
    """Steps and lines are 32-bit; a forged cursor beyond that is simply past the end."""
    return max(-1, min(value, 2**31 - 1))


_ONE: Mapping[str, Any] = {
    "parameters": [
        {
            "name": "run",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "maxLength": 1024},
            "description": "A run's id, percent-encoded.",
            "example": _EXAMPLE_ID,
        },
        {
            "name": "consistent",
            "in": "query",
            "required": False,
            "schema": {"type": "boolean", "default": False},
            "description": "Ask the workflow too.",
        },
    ]
}
