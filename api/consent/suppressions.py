"""Endpoints of suppressions.

Addresses are never shown, because none is kept.

Addresses are never shown, because none is kept.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from api.consent.schemas import AddressIn, AddressSuppressions, LiftIn, SuppressIn, SuppressionResult, SuppressionView
from api.http.auth import Scope
from api.http.pagination import Cursor, Limit, Page, RowId, ShortText, decode, json_response, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from journeys.tokens.address_hash import AddressHash, canonical_address
from store.consent import in_flight, suppressions
from store.database import Database

TAG = "Suppressions"
ActiveFilter = Annotated[bool | None, Query(description="Only those that hold, or only those that were lifted.")]


class SuppressionRoutes:
    """The routes of suppressions."""

    def __init__(self, database: Database, addresses: AddressHash, seconds: float) -> None:
        self._database, self._addresses = database, addresses
        self._seconds = seconds + in_flight.WAIT_SECONDS

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG)
        add("GET", "/v1/suppressions", self.list, summary="Suppressed addresses", gives=Page[SuppressionView])
        add(
            "POST",
            "/v1/suppressions",
            self.suppress,
            summary="Send nothing to an address",
            gives=SuppressionResult,
            seconds=self._seconds,
        )
        add(
            "POST",
            "/v1/suppressions:find",
            self.find,
            summary="Whether an address is suppressed",
            gives=AddressSuppressions,
        )
        add(
            "POST",
            "/v1/suppressions/{id}/lift",
            self.lift,
            summary="Let an address be sent to again",
            gives=SuppressionView,
            refuses=("not-found",),
        )

    async def list(
        self, channel: ShortText | None = None, in_force: ActiveFilter = None, limit: Limit = 50, cursor: Cursor = None
    ) -> Response:
        """The newest first."""
        place = decode(cursor, int)
        async with self._database.reading() as connection:
            before = place[0] if place else None
            found = await suppressions.list_suppressions(connection, channel, in_force, before, limit + 1)
        return page_of(found, limit, lambda item: (item["id"],))

    async def suppress(self, wish: SuppressIn) -> Response:
        """What is suppressed already stays so, for the reason it has. Waits up to 5 s for attempts that had begun before."""
        _address(wish)
        async with self._database.transaction() as connection:
            await suppressions.suppress(
                connection,
                self._addresses,
                wish.channel,
                wish.address,
                reason="operator",
                source=wish.by,
                at=datetime.now(UTC),
            )
        left = await in_flight.wait_for_address(self._database, wish.channel, wish.address)
        return json_response({**await self._found(wish), "in_flight": [asdict(each) for each in left]})

    async def find(self, wanted: AddressIn) -> Response:
        """Asked by the address itself, of which only a keyed hash is known here."""
        _address(wanted)
        return json_response(await self._found(wanted))

    async def _found(self, wanted: AddressIn) -> dict[str, Any]:
        async with self._database.reading() as connection:
            found = await suppressions.suppression_history(connection, self._addresses, wanted.channel, wanted.address)
        return {"suppressed": any(item["lifted_at"] is None for item in found), "items": found}

    async def lift(self, id: RowId, who: LiftIn) -> Response:
        """Lifted twice, the first time counts."""
        async with self._database.transaction() as connection:
            found = await suppressions.lift_one(connection, id, by=who.by, at=datetime.now(UTC))
        if found is None:
            raise ProblemError("not-found", "There is no suppression of this number.")
        return json_response(found)


def _address(given: AddressIn) -> None:
    """Raises ProblemError for what is no address: it would stand for every other that is none."""
    if not canonical_address(given.channel, given.address):
        fault = {"detail": "holds nothing that could be written to", "pointer": "/address"}
        raise ProblemError("invalid-request", "Nothing was changed.", [fault])
