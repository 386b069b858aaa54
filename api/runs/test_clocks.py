"""Endpoints of test clocks."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from api.events.intake import CLOCK_ID
from api.http.pagination import json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.runs.schemas import TestClockIn, TestClockView
from journeys.access.callers import Scope
from journeys.calendar.test_clock import TestClock
from store.database import Database
from store.people.test_clocks import read_clock, set_clock

TAG = "Test clocks"
ClockId = Annotated[str, Path(pattern=CLOCK_ID)]


class TestClockRoutes:
    """Routes of test clocks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.CLOCK, tag=TAG, gives=TestClockView)
        add("PUT", "/v1/clocks/{id}", self.put, summary="Create a test clock, or move its limit")
        add("GET", "/v1/clocks/{id}", self.get, summary="Get a test clock", refuses=("not-found",))

    async def put(self, id: ClockId, clock: TestClockIn) -> Response:
        """Origin and speed of an existing clock do not change. Its feeder moves the limit as events are accepted."""
        async with self._database.transaction() as connection:
            await set_clock(connection, id, clock.origin, clock.speed, clock.limit)
        return await self.get(id)

    async def get(self, id: ClockId) -> Response:
        async with self._database.reading() as connection:
            clock = await read_clock(connection, id)
        if clock is None:
            raise ProblemError("not-found", "There is no test clock with this id.")
        return json_response(_shown(clock))


def _shown(clock: TestClock) -> dict[str, object]:
    return {
        "id": clock.id,
        "origin": clock.origin,
        "started_at": clock.started,
        "speed": clock.speed,
        "limit": clock.limit,
        "now": clock.virtual(datetime.now(UTC)),
    }
