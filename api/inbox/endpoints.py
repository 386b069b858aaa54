"""Endpoints of the in-app inbox: items, interactions, stream."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Final

from fastapi import Header, Query
from pydantic import StringConstraints
from starlette.responses import Response, StreamingResponse

from api.http.auth import Scope
from api.http.limits import Limits
from api.http.pagination import Cursor, Limit, Page, RecordId, RowId, ShortText, decode, json_response, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.inbox.schemas import InboxItem, SurveyAnswer
from api.people.endpoints import known_subject
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.engagement import inbox_interactions
from store.inbox import items as inbox_items
from store.inbox.listener import InboxListener
from store.reads import people as queries

TAG = "Inbox"
HEARTBEAT_SECONDS: Final = 15.0
RETRY_MILLISECONDS: Final = 2_000
EVENT_STREAM: Final = "text/event-stream"
OnPage = Annotated[
    Annotated[str, StringConstraints(max_length=500, pattern=r"^/[^\x00]*$")] | None,
    Query(alias="page", description="A path of the product: what appears there, and what appears everywhere."),
]
LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", pattern=r"^[0-9]{1,18}$", description="Sent by a client that comes back.")
]
DigestPart = Annotated[ShortText | None, Query(description="Of a digest, the key of the one message that is meant.")]


class InboxRoutes:
    """The routes of inboxes. `leave` ends every stream, so that the process can end."""

    def __init__(self, database: Database, catalogue: DefinitionRegistry, limits: Limits) -> None:
        self._database, self._catalogue, self._limits = database, catalogue, limits
        self._bell = InboxListener(database.url)
        self._open = 0
        self._own: Counter[str] = Counter()
        self._leaving = False

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG, refuses=("not-found",))
        of_user = "/v1/users/{id:id}/inbox"
        add("GET", of_user, self.inbox, summary="In-app messages", gives=Page[InboxItem])
        add(
            "GET",
            f"{of_user}/stream",
            self.stream,
            summary="In-app messages as they come",
            refuses=("not-found", "quota-exceeded"),
            responses={200: {"description": "Events", "content": {EVENT_STREAM: {"schema": {"type": "string"}}}}},
        )
        for what in ("seen", "acted", "dismissed"):
            add("POST", f"/v1/inbox/{{id}}/{what}", getattr(self, what), summary=f"Mark as {what}", gives=InboxItem)

        add(
            "POST",
            "/v1/inbox/{id}/answered",
            self.answered,
            summary="Answer a survey",
            gives=InboxItem,
            refuses=("not-found", "conflict"),
        )

    def leave(self) -> None:
        """End every stream: clients come back, to another process or the next."""
        self._leaving = True
        self._bell.wake_all()

    async def inbox(
        self, id: RecordId, waiting: bool = False, on_page: OnPage = None, limit: Limit = 50, cursor: Cursor = None
    ) -> Response:
        """The newest first; `waiting=true` leaves out what was acted on or dismissed."""
        async with self._database.reading() as connection:
            keys = await queries.subject_keys(connection, (await known_subject(connection, "user", id)).key)
        return await self.listed(keys, waiting=waiting, on_page=on_page, limit=limit, cursor=cursor)

    async def listed(
        self, keys: list[str], *, waiting: bool, on_page: str | None, limit: int, cursor: str | None
    ) -> Response:
        """The messages of one person, under all their keys."""
        place = decode(cursor, int)
        async with self._database.reading() as connection:
            before = place[0] if place else None
            found = await inbox_items.list_inbox(
                connection, keys, waiting=waiting, before=before, limit=limit + 1, page=on_page
            )
        return page_of(found, limit, lambda item: (item["id"],))

    async def stream(self, id: RecordId, on_page: OnPage = None, last_event_id: LastEventId = None) -> Response:
        """Server-sent events: first all that waits, then each message when it comes or changes, whole.

        A client that comes back with `Last-Event-ID` gets what changed meanwhile. A message may come twice; it has its id.
        """
        async with self._database.reading() as connection:
            keys = await queries.subject_keys(connection, (await known_subject(connection, "user", id)).key)
        return self.streamed(keys, last_event_id, on_page)

    def streamed(
        self, keys: list[str], last_event_id: str | None, on_page: str | None, until: datetime | None = None
    ) -> Response:
        """A stream of one person's messages, which ends `until`. Raises ProblemError when too many are open."""
        if self._open >= self._limits.streams:
            raise ProblemError("quota-exceeded", f"{self._open} streams are open on this process. Try again, or ask.")
        if until is not None and self._own[keys[0]] >= self._limits.streams_of_one:
            raise ProblemError("quota-exceeded", "This person has too many streams open. Close one, or ask.")
        since = int(last_event_id) if last_event_id is not None else None
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._told(keys, since, on_page, until), media_type=EVENT_STREAM, headers=headers)

    async def _told(
        self, keys: list[str], since: int | None, on_page: str | None, until: datetime | None
    ) -> AsyncIterator[bytes]:
        known_as: dict[int, int] = {}
        own = keys[0] if until is not None else ""
        self._open += 1
        self._own[own] += 1
        try:
            async with self._bell.changes(keys) as rung:
                yield b"retry: %d\n\n" % RETRY_MILLISECONDS
                while not self._leaving and (left := _left(until)) > 0:
                    rung.clear()
                    async with self._database.reading() as connection:
                        found = await inbox_items.inbox_changes(connection, keys, since, on_page)
                    for item in found.items:
                        data = json_response(item).body
                        if known_as.get(item["id"]) != hash(bytes(data)):
                            known_as[item["id"]] = hash(bytes(data))
                            yield b"event: message\ndata: %b\n\n" % bytes(data)
                    # An id without data is no event; it is what the client comes back with once it has all before it.
                    yield b"id: %d\n\n" % found.upto if found.upto != since else b": still here\n\n"
                    since = found.upto
                    await _rung_or_heartbeat(rung, left)
        finally:
            self._open -= 1
            self._own -= Counter((own,))  # which forgets who has none left

    async def seen(self, id: RowId, item: DigestPart = None) -> Response:
        return await self.mark(id, "seen", item)

    async def acted(self, id: RowId, item: DigestPart = None) -> Response:
        """The person followed the message's single action."""
        return await self.mark(id, "acted", item)

    async def dismissed(self, id: RowId, item: DigestPart = None) -> Response:
        return await self.mark(id, "dismissed", item)

    async def answered(self, id: RowId, body: SurveyAnswer, item: DigestPart = None) -> Response:
        """A signal `survey_answered` with `score` or `choice`, and `comment`, is committed with it. The first answer stands."""
        return await self.answer(id, body, item)

    async def answer(self, id: int, body: SurveyAnswer, item: str | None, of: list[str] | None = None) -> Response:
        """The same; `of` are the keys of who may answer only their own."""
        try:
            found = await inbox_interactions.record_survey_answer(
                self._database, self._catalogue, id, body.value, body.comment, item, of=of
            )
        except LookupError as error:
            raise ProblemError("not-found", "This digest holds no message of that key.") from error
        except inbox_interactions.NotASurvey as error:
            raise ProblemError("conflict", "This message asks nothing: only a survey is answered.") from error
        except inbox_interactions.AnsweredDifferently as error:
            raise ProblemError("conflict", "It was answered otherwise before, and that answer stands.") from error
        except ValueError as error:
            fault = {"detail": str(error), "pointer": "/value"}
            raise ProblemError("invalid-request", "This survey has no such answer.", [fault]) from error
        if found is None:
            raise ProblemError("not-found", "There is no message of this number.")
        return json_response(found)

    async def mark(
        self, id: int, what: inbox_interactions.Mark, item: str | None, of: list[str] | None = None
    ) -> Response:
        """A signal `message_<what>` is committed with it, once. `of` are the keys of who may mark only their own."""
        try:
            found = await inbox_interactions.record_interaction(self._database, self._catalogue, id, what, item, of=of)
        except LookupError as error:
            raise ProblemError("not-found", "This digest holds no message of that key.") from error
        if found is None:
            raise ProblemError("not-found", "There is no message of this number.")
        return json_response(found)


def _left(until: datetime | None) -> float:
    """Seconds for which a stream may go on."""
    return HEARTBEAT_SECONDS if until is None else (until - datetime.now(UTC)).total_seconds()


async def _rung_or_heartbeat(rung: asyncio.Event, left: float) -> None:
    """Also without a ring the inbox is read again after a while: nothing depends on one notification."""
    try:
        async with asyncio.timeout(min(HEARTBEAT_SECONDS, left)):
            await rung.wait()
    except TimeoutError:
        return
