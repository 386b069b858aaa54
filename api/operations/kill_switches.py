"""Stop everything, over HTTP: throw a switch, see what is stopped, release it."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.http.auth import Scope
from api.http.pagination import Cursor, Limit, Page, RowId, decode, json_response, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.operations.schemas import KillSwitchIn, KillSwitchView, ReleaseIn
from store.database import Database
from store.messages import kill_switches

TAG = "Stops"


class KillSwitchRoutes:
    """The routes of stops."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG)
        add(
            "POST",
            "/v1/stops",
            self.throw,
            summary="Stop a channel, journey, template, or everything",
            gives=KillSwitchView,
        )
        add("GET", "/v1/stops", self.thrown, summary="What is stopped", gives=Page[KillSwitchView])
        add(
            "POST",
            "/v1/stops/{id}/release",
            self.release,
            summary="Let it go on",
            gives=KillSwitchView,
            refuses=("not-found",),
        )

    async def throw(self, stop: KillSwitchIn) -> Response:
        """From its commit on nothing of it enters `sending`; what is planned waits and is decided again at the release."""
        async with self._database.transaction() as connection:
            return json_response(await kill_switches.engage(connection, stop.scope, stop.name, stop.why, stop.by))

    async def thrown(
        self,
        all: Annotated[bool, Query(description="Also those that were released.")] = False,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """The newest first."""
        place = decode(cursor, int)
        async with self._database.reading() as connection:
            before = place[0] if place else None
            found = await kill_switches.list_stops(connection, all_of_them=all, before=before, limit=limit + 1)
        return page_of(found, limit, lambda stop: (stop["id"],))

    async def release(self, id: RowId, release: ReleaseIn) -> Response:
        """Releasing twice is releasing once."""
        found = await kill_switches.release_switch(self._database, id, release.by)
        if found is None:
            raise ProblemError("not-found", "There is no stop of this number.")
        return json_response(found)
