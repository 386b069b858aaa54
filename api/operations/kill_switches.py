"""Stop everything, over HTTP: throw a switch, see what is stopped, release it."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator
from starlette.responses import Response

from api.http.auth import Scope
from api.http.pagination import Cursor, Limit, Page, RowId, ShortText, decode, json_response, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from journeys.consent.rules import CHANNELS
from store.database import Database
from store.messages import kill_switches

TAG = "Stops"
SwitchReason = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
SwitchName = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]


class KillSwitchIn(BaseModel):
    """What is to stop: everything, or what has this name; who says so and why."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"scope": "journey", "name": "win-back", "why": "the offer's link is broken", "by": "dana"}
        },
    )

    scope: Literal["all", "channel", "journey", "template"]
    name: SwitchName = ""
    why: SwitchReason
    by: ShortText

    @model_validator(mode="after")
    def _named(self) -> KillSwitchIn:
        """What is stopped need not be there yet, but for a channel: a word that is none would stop nothing, for ever."""
        if (self.scope == "all") != (self.name == ""):
            raise ValueError("give the name of the channel, journey or template; `all` takes none")
        if self.scope == "channel" and self.name not in CHANNELS:
            raise ValueError(f"there is no channel {self.name}: it is one of {', '.join(CHANNELS)}")
        return self


class ReleaseIn(BaseModel):
    """Who lets it go on."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"by": "dana"}})

    by: ShortText


class KillSwitchView(BaseModel):
    """A switch that is thrown, or was."""

    id: int
    scope: str
    name: str
    why: str
    by: str
    at: datetime
    released_at: datetime | None
    released_by: str | None


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
