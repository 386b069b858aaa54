"""Endpoints of quarantine and dead letters: list, replay, discard."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Query
from starlette.responses import Response

from api.events.intake import Intake
from api.events.permissions import UNPROVEN_VISITOR
from api.events.reader import Reader
from api.events.schemas import DeadLetterView, QuarantinedEvent, QuarantinedNames, ReplayResult
from api.events.screening import SEGMENT, EventScreening
from api.events.signals import SOURCE, SignalRoutes
from api.http.body import Json
from api.http.pagination import Cursor, Limit, Page, RowId, ShortText, encode, json_response, number_in, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from journeys.access.callers import OPERATOR_KEY, WRITE_KEY, ApiKey, Scope
from journeys.access.user_hash import without_hash
from journeys.events.inbound import InboundEvent, ReceivedEvent, RejectedEvent
from store.access.keys import get_key, key_in_row
from store.database import Database
from store.events import dead_letters, quarantine
from store.process_clock import current_instant

TAG = "Quarantine"
AT_ONCE = 500
REPLAYABLE = frozenset({SOURCE, SEGMENT})
"""Sources whose items are events; a mail that could not be read is none."""


class StillRefused(ProblemError):
    """A held event that still may not be accepted: 409."""

    def __init__(self, detail: str, errors: Sequence[Mapping[str, Any]]) -> None:
        super().__init__("conflict", detail, errors)


class QuarantineRoutes:
    """Routes of quarantine and dead letters."""

    def __init__(
        self, database: Database, intake: Intake, reader: Reader, signals: SignalRoutes, screening: EventScreening
    ) -> None:
        self._database, self._intake = database, intake
        self._reader, self._signals, self._screening = reader, signals, screening

    def routes(self, routes: Routes) -> None:
        get = partial(routes.add, "GET", scope=Scope.READ, tag=TAG)
        get("/v1/quarantine", self.held, summary="List quarantined events", gives=Page[QuarantinedEvent])
        get("/v1/quarantine/names", self.names, summary="Count held events by name", gives=QuarantinedNames)
        unknown = ("not-found",)
        path = "/v1/quarantine/{id}"
        get(path, self.one, summary="Get a quarantined event", gives=QuarantinedEvent, refuses=unknown)
        get("/v1/dead-letters", self.dead, summary="List dead letters", gives=Page[DeadLetterView])
        post = partial(routes.add, "POST", scope=Scope.OPERATE, tag=TAG)
        settle = partial(post, gives=QuarantinedEvent, refuses=("not-found", "conflict", "clock-advancing"))
        settle(f"{path}/replay", self.replay, summary="Replay a quarantined event")
        settle(f"{path}/discard", self.discard, summary="Discard a quarantined event")
        post(
            "/v1/quarantine:replay",
            self.replay_all,
            summary="Replay all held events of a name",
            gives=ReplayResult,
            refuses=("clock-advancing",),
            seconds=60,
        )
        post(
            "/v1/dead-letters/{id}/discard",
            self.discard_dead_letter,
            summary="Discard a dead letter",
            gives=DeadLetterView,
            refuses=unknown,
        )

    async def held(
        self,
        status: Annotated[Literal["held", "replayed", "discarded"], Query()] = "held",
        name: Annotated[ShortText | None, Query(description="Name of the event as its sender gave it.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """Events in the order of arrival, each with its faults."""
        after = number_in(cursor) or 0
        async with self._database.reading() as connection:
            items = await quarantine.list_quarantined(
                connection, status=status, name=name, after=after, limit=limit + 1
            )
        return page_of([_shown(item) for item in items], limit)

    async def names(self) -> Response:
        async with self._database.reading() as connection:
            return json_response({"items": await quarantine.quarantined_names(connection)})

    async def one(self, id: RowId) -> Response:
        return json_response(_shown(await self._get(id)))

    async def replay(self, id: RowId) -> Response:
        """Read and check the event as if it arrived now with its key; `409` with its faults if it still fails."""
        item = await self._get(id)
        if item["status"] != "held":
            raise ProblemError("conflict", f"The event is already {item['status']}.")
        faults = await self._accept(item, await self._read(item))
        if faults:
            raise StillRefused("The event is refused again.", [{"detail": fault} for fault in faults])
        return json_response(_shown(await self._get(id)))

    async def replay_all(
        self,
        name: Annotated[ShortText, Query(description="Name of the event as its sender gave it.")],
        cursor: Cursor = None,
    ) -> Response:
        """Replay up to 500 events of one name, in the order of arrival. Those that still fail stay held.

        `next` is the cursor of the call for the following events, null if there are none.
        """
        after = number_in(cursor) or 0
        async with self._database.reading() as connection:
            found = await quarantine.list_quarantined(
                connection, status="held", name=name, after=after, limit=AT_ONCE + 1
            )
        items, replayed = found[:AT_ONCE], 0
        for item in items:
            with contextlib.suppress(StillRefused):
                replayed += not await self._accept(item, await self._read(item))
        following = encode((items[-1]["id"],)) if len(found) > AT_ONCE else None
        return json_response({"replayed": replayed, "still_held": len(items) - replayed, "next": following})

    async def _read(self, item: dict[str, Any]) -> InboundEvent:
        """The held event, read and checked as if it arrived now with its key. Raises StillRefused."""
        interface = item["source"].partition(":")[0]
        if interface not in REPLAYABLE:
            raise StillRefused("This cannot be replayed. Read it, act on it by hand, then discard it.", [])
        raw, message_id, key = item["event"], item["message_id"], await self._key(item["key_id"])
        try:
            if interface == SOURCE:
                event = self._signals.from_quarantine(raw, message_id, key)
            else:
                kind = raw.get("type") if isinstance(raw.get("type"), str) else "track"
                event = replace(self._reader.one(Json(raw, strange=True), kind, key), message_id=message_id)
            event = _sent_before(event, item["received_at"])
        except ProblemError as refusal:
            raise StillRefused("The event is still refused.", refusal.errors) from refusal
        event = await self._screening.without_padding(key, event)
        if isinstance(event, RejectedEvent):
            raise StillRefused("The event is still refused.", [{"detail": fault} for fault in event.faults])
        if event.held is not None:
            raise StillRefused("A trait is still refused.", [{"detail": fault} for fault in event.held.faults])
        placed = await self._screening.place(key, event)
        if placed is None:
            raise StillRefused("The event is still refused.", [{"detail": UNPROVEN_VISITOR.sentence}])
        return placed

    async def _key(self, identity: str) -> ApiKey:
        """The key that an event came with, also when it is revoked by now; hashes of all its generations count."""
        for key in (WRITE_KEY, OPERATOR_KEY):
            if key.id == identity:
                return key
        async with self._database.reading() as connection:
            row = await get_key(connection, identity)
        assert row is not None, "keys are revoked, never deleted"
        return replace(key_in_row(row, overlaps=False), generations=tuple(range(1, row["generation"] + 1)))

    async def _accept(self, item: dict[str, Any], event: InboundEvent) -> tuple[str, ...]:
        """Accept first, then settle. After a crash in between it is replayed again, as a duplicate of its id.

        The faults for which it stays.
        """
        taken = (await self._intake.one(event, source=item["source"], clock=None)).as_taken(event)
        if isinstance(taken, RejectedEvent):
            return taken.faults
        async with self._database.transaction() as connection:
            await quarantine.settle_quarantined(connection, item["id"], "replayed")
        return ()

    async def discard(self, id: RowId) -> Response:
        """Discard the event. It stays listed as discarded."""
        async with self._database.transaction() as connection:
            done = await quarantine.settle_quarantined(connection, id, "discarded")
        item = await self._get(id)
        if not done and item["status"] != "discarded":
            raise ProblemError("conflict", f"The event is already {item['status']}.")
        return json_response(_shown(item))

    async def _get(self, id: int) -> dict[str, Any]:
        async with self._database.reading() as connection:
            item = await quarantine.get_quarantined(connection, id)
        if item is None:
            raise ProblemError("not-found", "There is no quarantined event with this id.")
        return item

    async def dead(
        self,
        status: Annotated[Literal["held", "discarded"], Query()] = "held",
        run: Annotated[ShortText | None, Query(description="Only dead letters of this run.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """Signals that runs could not read. They changed nothing, and their runs continued."""
        after = number_in(cursor) or 0
        async with self._database.reading() as connection:
            rows = await dead_letters.list_dead_letters(
                connection, status=status, run=run, after=after, limit=limit + 1
            )
        return page_of(rows, limit)

    async def discard_dead_letter(self, id: RowId) -> Response:
        async with self._database.transaction() as connection:
            dead_letter = await dead_letters.discard_dead_letter(connection, id)
        if dead_letter is None:
            raise ProblemError("not-found", "There is no dead letter with this id.")
        return json_response(dead_letter)


def _sent_before(event: ReceivedEvent, received_at: datetime) -> ReceivedEvent:
    """The event with its time of sending moved by its stay here, so that its timestamp is corrected as at its arrival."""
    if isinstance(event, RejectedEvent) or event.sent_at is None:
        return event
    return replace(event, sent_at=event.sent_at + (current_instant() - received_at))


def _shown(item: dict[str, Any]) -> dict[str, Any]:
    """A quarantined event as keys with the scope `read` see it. The stored one keeps the hash for its replay."""
    return {**item, "event": without_hash(item["event"])}
