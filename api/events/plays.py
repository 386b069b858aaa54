"""Endpoints of plays: an operator starts a journey for a person or an account."""

from __future__ import annotations

from functools import partial

from starlette.responses import Response

from api.events.schemas import PlayIn
from api.http.auth import RequestKey
from api.http.pagination import RecordId, json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.http.schemas import RunView
from api.people.endpoints import known_subject
from api.tasks.holds import TAG
from journeys.access.callers import Scope
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.events import plays
from store.reads.people import SubjectKind
from store.reads.runs import get_run


class PlayRoutes:
    """Routes that start a run."""

    def __init__(self, database: Database, catalogue: DefinitionRegistry) -> None:
        self._database = database
        self._catalogue = catalogue

    def routes(self, routes: Routes) -> None:
        post = partial(
            routes.add,
            "POST",
            scope=Scope.OPERATE,
            tag=TAG,
            gives=RunView,
            status=201,
            refuses=("not-found", "conflict", "clock-advancing"),
        )
        post("/v1/users/{id:id}/plays", self.for_user, summary="Start a journey for a person")
        post("/v1/accounts/{id:id}/plays", self.for_account, summary="Start a journey for an account")

    async def for_user(self, id: RecordId, play: PlayIn, caller: RequestKey) -> Response:
        """Start a run as the journey's entry does. The entry's condition is not checked: the operator decides instead."""
        return await self._start("user", id, play, caller)

    async def for_account(self, id: RecordId, play: PlayIn, caller: RequestKey) -> Response:
        """Start a run. It is accepted as event `play:<journey>` of source `operator`, which a backtest reads too."""
        return await self._start("account", id, play, caller)

    async def _start(self, kind: SubjectKind, value: str, play: PlayIn, caller: RequestKey) -> Response:
        async with self._database.reading() as connection:
            subject = await known_subject(connection, kind, value)
        try:
            run = await plays.start_play(
                self._database,
                self._catalogue,
                subject,
                play.journey,
                by=caller.acts_for(play.by),
                why=play.why,
                data=play.data,
            )
        except plays.NoSuchPlay as error:
            raise ProblemError("not-found", "No journey with this key is live.") from error
        except plays.WrongSubjectKind as error:
            fault = {"detail": f"is not a journey for {kind}s", "pointer": "/body/journey"}
            raise ProblemError("invalid-request", "Nothing was started.", [fault]) from error
        except plays.MayNotEnter as error:
            raise ProblemError("conflict", f"This {kind} may not enter {play.journey} now: {error}.") from error
        async with self._database.reading() as connection:
            return json_response(await get_run(connection, run), 201)
