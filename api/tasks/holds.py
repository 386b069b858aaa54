"""Endpoints of holds on people and accounts."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.http.auth import Scope
from api.http.pagination import Cursor, Limit, Page, RecordId, ShortText, decode, json_response, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.people.endpoints import known_subject
from api.tasks.schemas import HoldIn, HoldView
from store.database import Database
from store.messages import holds
from store.reads.people import SubjectKind

TAG = "Holds and plays"
HolderParam = Annotated[ShortText, Query(description="Who releases it.")]


class HoldRoutes:
    """The routes of holds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG)
        add("GET", "/v1/holds", self.listed, summary="Who is held by whom", gives=Page[HoldView])
        for kind in ("user", "account"):
            path = f"/v1/{kind}s/{{id:id}}/hold"
            hold, release = getattr(self, f"hold_{kind}"), getattr(self, f"release_{kind}")
            both = ("not-found", "conflict")
            add("POST", path, hold, summary=f"Hold a{'n' * (kind == 'account')} {kind}", gives=HoldView, refuses=both)
            add("DELETE", path, release, summary="Let automation go on", gives=HoldView, refuses=("not-found",))

    async def listed(
        self,
        standing: Annotated[bool | None, Query(description="Those that stand now, or those that have ended.")] = None,
        by: Annotated[ShortText | None, Query(description="Of one person.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """The newest first, ended ones included: this is also the record of who held whom and why."""
        place = decode(cursor, int)
        before = place[0] if place else None
        async with self._database.reading() as connection:
            found = await holds.list_holds(
                connection, now=datetime.now(UTC), by=by, standing=standing, before=before, limit=limit + 1
            )
        return page_of(found, limit, lambda item: (item["id"],))

    async def hold_user(self, id: RecordId, wish: HoldIn) -> Response:
        """Of one person only; the rest of their account is not held."""
        return await self._hold("user", id, wish)

    async def hold_account(self, id: RecordId, wish: HoldIn) -> Response:
        """Of everybody in the account. Who holds it already changes the end by asking again."""
        return await self._hold("account", id, wish)

    async def release_user(self, id: RecordId, by: HolderParam) -> Response:
        return await self._release("user", id, by)

    async def release_account(self, id: RecordId, by: HolderParam) -> Response:
        """What waited for it is weighed again at once."""
        return await self._release("account", id, by)

    async def _hold(self, kind: SubjectKind, value: str, wish: HoldIn) -> Response:
        key = await self._key(kind, value)
        try:
            found = await holds.place_hold(
                self._database, key, until=wish.until, by=wish.by, why=wish.why, now=datetime.now(UTC)
            )
        except holds.HeldByOther as error:
            raise ProblemError("conflict", f"{error}: {error.held.why}") from error
        except holds.HoldEndInvalid as error:
            fault = {"detail": f"must be to come, and within {holds.LONGEST.days} days", "pointer": "/body/until"}
            raise ProblemError("invalid-request", "A hold has an end.", [fault]) from error
        return json_response(found)

    async def _release(self, kind: SubjectKind, value: str, by: str) -> Response:
        found = await holds.release_hold(self._database, await self._key(kind, value), by=by, now=datetime.now(UTC))
        if found is None:
            raise ProblemError("not-found", "Nobody holds them.")
        return json_response(found)

    async def _key(self, kind: SubjectKind, value: str) -> str:
        async with self._database.reading() as connection:
            return (await known_subject(connection, kind, value)).key
