"""Endpoints of suppressions.

Addresses are never returned: only their keyed hashes are stored.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from api.consent.schemas import AddressIn, AddressSuppressions, LiftIn, SuppressIn, SuppressionResult, SuppressionView
from api.http.auth import RequestKey
from api.http.pagination import Cursor, Limit, Page, RowId, ShortText, json_response, number_in, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from journeys.access.callers import Scope
from journeys.tokens.address_hash import AddressHash, canonical_address
from store.consent import in_flight, suppressions
from store.database import Database
from store.process_clock import current_instant

TAG = "Suppressions"
ActiveFilter = Annotated[bool | None, Query(description="true: only those in force; false: only lifted ones.")]


class SuppressionRoutes:
    """Routes of suppressions."""

    def __init__(self, database: Database, addresses: AddressHash, seconds: float) -> None:
        self._database, self._addresses = database, addresses
        self._seconds = seconds + in_flight.WAIT_SECONDS

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG)
        add(
            "GET",
            "/v1/suppressions",
            self.list,
            scope=Scope.READ,
            summary="List suppressions",
            gives=Page[SuppressionView],
        )
        add(
            "POST",
            "/v1/suppressions",
            self.suppress,
            summary="Suppress an address",
            gives=SuppressionResult,
            seconds=self._seconds,
        )
        add(
            "POST",
            "/v1/suppressions:find",
            self.find,
            scope=Scope.READ,
            summary="Find the suppressions of an address",
            gives=AddressSuppressions,
        )
        add(
            "POST",
            "/v1/suppressions/{id}/lift",
            self.lift,
            summary="Lift a suppression",
            gives=SuppressionView,
            refuses=("not-found",),
        )

    async def list(
        self, channel: ShortText | None = None, in_force: ActiveFilter = None, limit: Limit = 50, cursor: Cursor = None
    ) -> Response:
        """Newest first."""
        before = number_in(cursor)
        async with self._database.reading() as connection:
            rows = await suppressions.list_suppressions(connection, channel, in_force, before, limit + 1)
        return page_of(rows, limit)

    async def suppress(self, suppression: SuppressIn, caller: RequestKey) -> Response:
        """An address that is already suppressed keeps its reason. Waits up to 5 s for attempts in flight."""
        _check_address(suppression)
        async with self._database.transaction() as connection:
            await suppressions.suppress(
                connection,
                self._addresses,
                suppression.channel,
                suppression.address,
                reason="operator",
                source=caller.acts_for(suppression.by),
                at=current_instant(),
            )
        remaining = await in_flight.wait_for_address(self._database, suppression.channel, suppression.address)
        return json_response(
            {**await self._history(suppression), "in_flight": [asdict(message) for message in remaining]}
        )

    async def find(self, address: AddressIn) -> Response:
        """Look up an address by its keyed hash."""
        _check_address(address)
        return json_response(await self._history(address))

    async def _history(self, address: AddressIn) -> dict[str, Any]:
        async with self._database.reading() as connection:
            rows = await suppressions.suppression_history(connection, self._addresses, address.channel, address.address)
        now = current_instant()
        in_force = (row["lifted_at"] is None and (row["ends_at"] is None or row["ends_at"] > now) for row in rows)
        return {"suppressed": any(in_force), "items": rows}

    async def lift(self, id: RowId, request: LiftIn, caller: RequestKey) -> Response:
        """Lift a suppression. If it is lifted twice, the first time counts."""
        async with self._database.transaction() as connection:
            suppression = await suppressions.lift_one(
                connection, id, by=caller.acts_for(request.by), at=current_instant()
            )
        if suppression is None:
            raise ProblemError("not-found", "There is no suppression with this id.")
        return json_response(suppression)


def _check_address(address: AddressIn) -> None:
    """Raise ProblemError for text that is not an address: all such texts would share one suppression."""
    if not canonical_address(address.channel, address.address):
        fault = {"detail": "is not an address of this channel", "pointer": "/address"}
        raise ProblemError("invalid-request", "Nothing was changed.", [fault])
