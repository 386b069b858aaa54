"""Endpoints of parked rows: list, replay, discard."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Query
from starlette.responses import Response

from api.http.auth import RequestKey
from api.http.pagination import Cursor, Limit, Page, RowId, ShortText, json_response, number_in, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.operations.schemas import ParkedRequest, ParkedRow
from journeys.access.callers import Scope
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.outbox import parked
from store.outbox.replay import NotReplayable, replay_parked

TAG = "Parked rows"


class ParkedRoutes:
    """Routes below `/v1/parked`."""

    def __init__(self, database: Database, catalogue: DefinitionRegistry) -> None:
        self._database, self._catalogue = database, catalogue

    def routes(self, routes: Routes) -> None:
        get = partial(routes.add, "GET", scope=Scope.READ, tag=TAG)
        get("/v1/parked", self.rows, summary="List parked rows", gives=Page[ParkedRow])
        get("/v1/parked/{id}", self.one, summary="Get a parked row", gives=ParkedRow, refuses=("not-found",))
        settle = partial(
            routes.add, "POST", scope=Scope.OPERATE, tag=TAG, gives=ParkedRow, refuses=("not-found", "conflict")
        )
        settle("/v1/parked/{id}/replay", self.replay, summary="Replay a parked row")
        settle("/v1/parked/{id}/discard", self.discard, summary="Discard a parked row")

    async def rows(
        self,
        status: Annotated[Literal["held", "replayed", "discarded"], Query()] = "held",
        code: Annotated[parked.ParkedCode | None, Query(description="Only rows parked for this reason.")] = None,
        run: Annotated[ShortText | None, Query(description="Only rows of this run.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """Rows in the order in which they were parked, each with its reason."""
        after = number_in(cursor) or 0
        async with self._database.reading() as connection:
            items = await parked.list_parked(
                connection, status=status, codes=code and [code], run=run, after=after, limit=limit + 1
            )
        return page_of(items, limit)

    async def one(self, id: RowId) -> Response:
        return json_response(await self._get(id))

    async def replay(self, id: RowId, request: ParkedRequest, caller: RequestKey) -> Response:
        """Put the row behind everything that its run's lane has by now. Its run decides it late, on the fields of now."""
        try:
            done = await replay_parked(self._database, self._catalogue, id, caller.acts_for(request.by))
        except NotReplayable as error:
            raise ProblemError("conflict", f"The row cannot be replayed: {error}.") from error
        return await self._settled(id, done, "replayed")

    async def discard(self, id: RowId, request: ParkedRequest, caller: RequestKey) -> Response:
        """Discard the row: its run never gets it. It stays listed as discarded."""
        async with self._database.transaction() as connection:
            done = await parked.settle_parked(connection, id, "discarded", caller.acts_for(request.by))
        return await self._settled(id, done, "discarded")

    async def _settled(self, id: int, done: bool, status: str) -> Response:
        item = await self._get(id)
        if not done and item["status"] != status:
            raise ProblemError("conflict", f"The row is already {item['status']}.")
        return json_response(item)

    async def _get(self, id: int) -> dict[str, Any]:
        async with self._database.reading() as connection:
            item = await parked.get_parked(connection, id)
        if item is None:
            raise ProblemError("not-found", "There is no parked row with this id.")
        return item
