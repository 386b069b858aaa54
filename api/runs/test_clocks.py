"""Endpoints of test clocks, which stand still until they are advanced (record 0016)."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from api.events.intake import CLOCK_ID
from api.http.pagination import json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.runs.schemas import TestClockAdvance, TestClockIn, TestClockView
from journeys.access.callers import Scope
from store.clocks import control
from store.clocks.due import read_state
from store.database import Connection, Database
from store.people.test_clocks import ClockStatus

TAG = "Test clocks"
ClockId = Annotated[str, Path(pattern=CLOCK_ID)]
_NONE = "There is no test clock with this id. Create it with PUT /v1/clocks/{id}."


class TestClockRoutes:
    """Routes of test clocks. `levels` is the length of the policy's chain of escalation."""

    def __init__(self, database: Database, levels: int) -> None:
        self._database, self._levels = database, levels

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.CLOCK, tag=TAG, gives=TestClockView)
        add("PUT", "/v1/clocks/{id}", self.create, summary="Create a test clock", refuses=("conflict",))
        add("GET", "/v1/clocks/{id}", self.show, summary="Get a test clock", refuses=("not-found",))
        add(
            "POST",
            "/v1/clocks/{id}/advance",
            self.advance,
            summary="Let its time pass",
            status=202,
            refuses=("not-found", "clock-advancing"),
        )

    async def create(self, id: ClockId, clock: TestClockIn) -> Response:
        """The clock stands at this instant. A repeated request with the same instant changes nothing."""
        async with self._database.transaction() as connection:
            try:
                await control.create_clock(connection, id, clock.now)
            except control.ClockExists as error:
                raise ProblemError("conflict", f"{_sentence(error)}.") from error
            return await self._shown(connection, id)

    async def show(self, id: ClockId) -> Response:
        """`ready` once everything that was accepted is decided and nothing is due at its now."""
        async with self._database.reading() as connection:
            return await self._shown(connection, id)

    async def advance(self, id: ClockId, wish: TestClockAdvance) -> Response:
        """A worker decides everything due until then, each at its own instant. Poll until the clock is `ready`.

        Events for its people are refused meanwhile. Advanced to its own now, it settles what is due.
        """
        async with self._database.transaction() as connection:
            try:
                await control.advance_clock(connection, id, wish.to)
            except control.NoSuchClock as error:
                raise ProblemError("not-found", _NONE) from error
            except control.ClockGoesBack as error:
                fault = {"detail": "must not be before the clock's now", "pointer": "/to"}
                raise ProblemError("invalid-request", f"{_sentence(error)}.", [fault]) from error
            return await self._shown(connection, id, 202)

    async def _shown(self, connection: Connection, id: str, status: int = 200) -> Response:
        found = await read_state(connection, id, self._levels)
        if found is None:
            raise ProblemError("not-found", _NONE)
        clock, has_work = found
        shown = ClockStatus.ADVANCING if has_work and clock.status is ClockStatus.READY else clock.status
        view = {"id": clock.id, "now": clock.now, "target": clock.target, "status": shown, "error": clock.error}
        return json_response({**view, "progressed_at": clock.progressed_at}, status)


def _sentence(error: Exception) -> str:
    words = str(error)
    return words[:1].upper() + words[1:]
