"""Endpoints of kill switches: engage, list, release."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.http.auth import RequestKey
from api.http.pagination import Cursor, Limit, Page, RowId, json_response, number_in, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.operations.schemas import KillSwitchIn, KillSwitchView, ReleaseIn
from journeys.access.callers import Scope
from store.database import Database
from store.messages import kill_switches

TAG = "Stops"


class KillSwitchRoutes:
    """Routes of kill switches."""

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
        add("GET", "/v1/stops", self.thrown, scope=Scope.READ, summary="List kill switches", gives=Page[KillSwitchView])
        add(
            "POST",
            "/v1/stops/{id}/release",
            self.release,
            summary="Release a kill switch",
            gives=KillSwitchView,
            refuses=("not-found",),
        )

    async def throw(self, switch: KillSwitchIn, caller: RequestKey) -> Response:
        """Engage a kill switch. From its commit on its messages wait; at the release they are decided again."""
        async with self._database.transaction() as connection:
            return json_response(
                await kill_switches.engage(
                    connection, switch.scope, switch.name, switch.why, caller.acts_for(switch.by)
                )
            )

    async def thrown(
        self,
        all: Annotated[bool, Query(description="Also released ones.")] = False,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """Newest first."""
        before = number_in(cursor)
        async with self._database.reading() as connection:
            switches = await kill_switches.list_stops(connection, all_of_them=all, before=before, limit=limit + 1)
        return page_of(switches, limit)

    async def release(self, id: RowId, release: ReleaseIn, caller: RequestKey) -> Response:
        """Release a kill switch. A second release has no effect."""
        switch = await kill_switches.release_switch(self._database, id, caller.acts_for(release.by))
        if switch is None:
            raise ProblemError("not-found", "There is no kill switch with this id.")
        return json_response(switch)
