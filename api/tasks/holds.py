"""Endpoints of holds on people and accounts."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.http.auth import RequestKey
from api.http.pagination import Cursor, Limit, Page, RecordId, ShortText, json_response, number_in, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.people.endpoints import known_subject
from api.tasks.schemas import HoldIn, HoldView
from journeys.access.callers import Scope
from store.database import Database
from store.messages import holds
from store.process_clock import current_instant
from store.reads.people import SubjectKind

TAG = "Holds and plays"
HolderParam = Annotated[ShortText | None, Query(description="Name of the person who releases it.")]


class HoldRoutes:
    """Routes of holds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG)
        add("GET", "/v1/holds", self.listed, scope=Scope.READ, summary="List holds", gives=Page[HoldView])
        for kind in ("user", "account"):
            path = f"/v1/{kind}s/{{id:id}}/hold"
            hold, release = getattr(self, f"hold_{kind}"), getattr(self, f"release_{kind}")
            both = ("not-found", "conflict", "clock-advancing")
            add("POST", path, hold, summary=f"Hold a{'n' * (kind == 'account')} {kind}", gives=HoldView, refuses=both)
            add(
                "DELETE",
                path,
                release,
                summary=f"Release a{'n' * (kind == 'account')} {kind}",
                gives=HoldView,
                refuses=("not-found", "clock-advancing"),
            )

    async def listed(
        self,
        standing: Annotated[
            bool | None, Query(description="true: only holds in force; false: only ended ones.")
        ] = None,
        by: Annotated[ShortText | None, Query(description="Only holds by this person.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """Newest first, ended ones included: the list is also the record of who held whom and why."""
        before = number_in(cursor)
        async with self._database.reading() as connection:
            items = await holds.list_holds(
                connection, now=current_instant(), by=by, standing=standing, before=before, limit=limit + 1
            )
        return page_of(items, limit)

    async def hold_user(self, id: RecordId, request: HoldIn, caller: RequestKey) -> Response:
        """Hold one person. The rest of their account is not held."""
        return await self._hold("user", id, request, caller)

    async def hold_account(self, id: RecordId, request: HoldIn, caller: RequestKey) -> Response:
        """Hold everyone in the account. The holder changes the end with another request."""
        return await self._hold("account", id, request, caller)

    async def release_user(self, id: RecordId, caller: RequestKey, by: HolderParam = None) -> Response:
        return await self._release("user", id, caller.acts_for(by))

    async def release_account(self, id: RecordId, caller: RequestKey, by: HolderParam = None) -> Response:
        """Release the account. Messages that waited are decided again at once."""
        return await self._release("account", id, caller.acts_for(by))

    async def _hold(self, kind: SubjectKind, value: str, request: HoldIn, caller: RequestKey) -> Response:
        key = await self._key(kind, value)
        try:
            hold = await holds.place_hold(
                self._database,
                key,
                until=request.until,
                by=caller.acts_for(request.by),
                why=request.why,
                now=current_instant(),
            )
        except holds.HeldByOther as error:
            raise ProblemError("conflict", f"{error}: {error.held.why}") from error
        except holds.HoldEndInvalid as error:
            fault = {"detail": f"must be in the future, within {holds.LONGEST.days} days", "pointer": "/body/until"}
            raise ProblemError("invalid-request", "The end of the hold is invalid.", [fault]) from error
        return json_response(hold)

    async def _release(self, kind: SubjectKind, value: str, by: str) -> Response:
        hold = await holds.release_hold(self._database, await self._key(kind, value), by=by, now=current_instant())
        if hold is None:
            raise ProblemError("not-found", f"This {kind} is not held.")
        return json_response(hold)

    async def _key(self, kind: SubjectKind, value: str) -> str:
        async with self._database.reading() as connection:
            return (await known_subject(connection, kind, value)).key
