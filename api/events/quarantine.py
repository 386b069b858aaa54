"""Endpoints of quarantine and dead letters: list, replay, discard."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Query
from starlette.responses import Response

from api.events.intake import Intake
from api.events.reader import Reader
from api.events.schemas import DeadLetterView, QuarantinedEvent, QuarantinedNames, ReplayResult
from api.events.signals import SOURCE, event_from_quarantine
from api.events.tracking_plan import EventCheck
from api.http.auth import Scope
from api.http.body import Json
from api.http.pagination import Cursor, Limit, Page, RowId, ShortText, decode, json_response, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from journeys.events.inbound import InboundEvent, RejectedEvent
from store.database import Database
from store.events import dead_letters, quarantine

TAG = "Quarantine"
AT_ONCE = 500


class QuarantineRoutes:
    """Routes of quarantine and dead letters."""

    def __init__(self, database: Database, intake: Intake, reader: Reader, check: EventCheck) -> None:
        self._database = database
        self._intake = intake
        self._reader = reader
        self._check = check

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG)
        one = ("not-found", "conflict")
        add("GET", "/v1/quarantine", self.held, summary="Events that moved nothing", gives=Page[QuarantinedEvent])
        add("GET", "/v1/quarantine/names", self.names, summary="What is held, by name", gives=QuarantinedNames)
        add(
            "GET",
            "/v1/quarantine/{id}",
            self.one,
            summary="One held event",
            gives=QuarantinedEvent,
            refuses=("not-found",),
        )
        add(
            "POST",
            "/v1/quarantine/{id}/replay",
            self.replay,
            summary="Accept it now",
            gives=QuarantinedEvent,
            refuses=one,
        )
        add(
            "POST",
            "/v1/quarantine/{id}/discard",
            self.discard,
            summary="Give it up",
            gives=QuarantinedEvent,
            refuses=one,
        )
        add(
            "POST",
            "/v1/quarantine:replay",
            self.replay_all,
            summary="Accept all of a name",
            gives=ReplayResult,
            seconds=60,
        )
        add("GET", "/v1/dead-letters", self.dead, summary="What runs could not read", gives=Page[DeadLetterView])
        add(
            "POST",
            "/v1/dead-letters/{id}/discard",
            self.bury,
            summary="Looked at",
            gives=DeadLetterView,
            refuses=("not-found",),
        )

    async def held(
        self,
        status: Annotated[Literal["held", "replayed", "discarded"], Query()] = "held",
        name: Annotated[ShortText | None, Query(description="The event's name as it came.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """In the order of arrival, each with what is wrong with it."""
        place = decode(cursor, int)
        async with self._database.reading() as connection:
            after = place[0] if place else 0
            found = await quarantine.list_quarantined(
                connection, status=status, name=name, after=after, limit=limit + 1
            )
        return page_of(found, limit, lambda item: (item["id"],))

    async def names(self) -> Response:
        async with self._database.reading() as connection:
            return json_response({"items": await quarantine.quarantined_names(connection)})

    async def one(self, id: RowId) -> Response:
        return json_response(await self._get(id))

    async def replay(self, id: RowId) -> Response:
        """Read and checked again, as if it came now; `409` with its faults if it still fails."""
        item = await self._get(id)
        if item["status"] != "held":
            raise ProblemError("conflict", f"It is {item['status']} already.")
        event = self._read(item)
        if isinstance(event, ProblemError):
            raise event
        await self._accept(item, event)
        return json_response(await self._get(id))

    async def replay_all(
        self, name: Annotated[ShortText, Query(description="The event's name as it came.")]
    ) -> Response:
        """Up to 500 of one name, in the order of arrival; those that still fail stay."""
        async with self._database.reading() as connection:
            items = await quarantine.list_quarantined(connection, status="held", name=name, after=0, limit=AT_ONCE)
        replayed = 0
        for item in items:
            event = self._read(item)
            if isinstance(event, InboundEvent):
                await self._accept(item, event)
                replayed += 1
        return json_response({"replayed": replayed, "still_held": len(items) - replayed})

    def _read(self, item: dict[str, Any]) -> InboundEvent | ProblemError:
        """The event in quarantine, read and checked as if it came now; or why it is still refused."""
        kept, message_id = item["event"], item["message_id"]
        if item["source"] == SOURCE:
            event = event_from_quarantine(self._check, kept, message_id)
        else:
            kind = kept.get("type") if isinstance(kept.get("type"), str) else "track"
            try:
                event = replace(self._reader.one(Json(kept, strange=True), kind), message_id=message_id)
            except ProblemError as refusal:
                return ProblemError("conflict", "It is still malformed.", refusal.errors)
        if isinstance(event, RejectedEvent):
            return ProblemError("conflict", "It still fails the tracking plan.", [{"detail": f} for f in event.faults])
        return event

    async def _accept(self, item: dict[str, Any], event: InboundEvent) -> None:
        """Accepted first and settled then: a crash in between replays it again, and its id makes that nothing."""
        await self._intake.one(event, source=item["source"], clock=None)
        async with self._database.transaction() as connection:
            await quarantine.settle_quarantined(connection, item["id"], "replayed")

    async def discard(self, id: RowId) -> Response:
        """It stays visible as discarded."""
        async with self._database.transaction() as connection:
            done = await quarantine.settle_quarantined(connection, id, "discarded")
        item = await self._get(id)
        if not done and item["status"] != "discarded":
            raise ProblemError("conflict", f"It is {item['status']} already.")
        return json_response(item)

    async def _get(self, id: int) -> dict[str, Any]:
        async with self._database.reading() as connection:
            found = await quarantine.get_quarantined(connection, id)
        if found is None:
            raise ProblemError("not-found", "There is no held event of this number.")
        return found

    async def dead(
        self,
        status: Annotated[Literal["held", "discarded"], Query()] = "held",
        run: Annotated[ShortText | None, Query(description="Of one run.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """They changed nothing and stopped nothing; somebody should know."""
        place = decode(cursor, int)
        async with self._database.reading() as connection:
            after = place[0] if place else 0
            found = await dead_letters.list_dead_letters(
                connection, status=status, run=run, after=after, limit=limit + 1
            )
        return page_of(found, limit, lambda item: (item["id"],))

    async def bury(self, id: RowId) -> Response:
        async with self._database.transaction() as connection:
            found = await dead_letters.discard_dead_letter(connection, id)
        if found is None:
            raise ProblemError("not-found", "There is no dead letter of this number.")
        return json_response(found)
