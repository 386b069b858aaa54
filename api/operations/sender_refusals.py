"""Endpoints of sender refusals: list, close."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.http.auth import RequestKey
from api.http.pagination import Cursor, Limit, Page, RowId, json_response, number_in, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.operations.schemas import ReleaseIn, SenderRefusalView
from journeys.access.callers import Scope
from store.database import Database
from store.messages import sender_refusals

TAG = "Stops"


class SenderRefusalRoutes:
    """Routes of sender refusals."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG)
        add(
            "GET",
            "/v1/sender-refusals",
            self.refusals,
            scope=Scope.READ,
            summary="List providers that refuse us",
            gives=Page[SenderRefusalView],
        )
        add(
            "POST",
            "/v1/sender-refusals/{id}/close",
            self.close,
            summary="Close a refusal",
            gives=SenderRefusalView,
            refuses=("not-found",),
        )

    async def refusals(
        self,
        all: Annotated[bool, Query(description="Also closed ones.")] = False,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """Newest first."""
        before = number_in(cursor)
        async with self._database.reading() as connection:
            refusals = await sender_refusals.list_refusals(connection, all_of_them=all, before=before, limit=limit + 1)
        return page_of(refusals, limit)

    async def close(self, id: RowId, release: ReleaseIn, caller: RequestKey) -> Response:
        """Close a refusal: its channel is used at full speed again. A kill switch that it engaged is released by itself.

        The next refused message opens another. A second close has no effect.
        """
        async with self._database.transaction() as connection:
            refusal = await sender_refusals.close_refusal(connection, id, caller.acts_for(release.by))
        if refusal is None:
            raise ProblemError("not-found", "There is no refusal with this id.")
        return json_response(refusal)
