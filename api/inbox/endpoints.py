"""Endpoints of the in-app inbox: items, interactions, stream."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Final
from uuid import UUID

from fastapi import Header, Path, Query
from pydantic import StringConstraints
from starlette.responses import Response, StreamingResponse

from api.http.limits import Limits
from api.http.pagination import Cursor, Limit, Page, RecordId, ShortText, decode, json_response, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.inbox.schemas import InboxItem, SurveyAnswer
from api.people.endpoints import known_subject
from journeys.access.callers import Scope
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
    Query(alias="page", description="Path of a page of the product: messages for that page and for every page."),
]
LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", pattern=r"^[0-9]{1,18}$", description="Sent by a client that reconnects.")
]
ItemId = Annotated[UUID, Path(description="Id of an in-app message, as the list shows it.")]
DigestPart = Annotated[ShortText | None, Query(description="Key of one message in a digest.")]


class InboxRoutes:
    """Routes of inboxes. `end_streams` ends every stream, so that the process can end."""

    def __init__(self, database: Database, catalogue: DefinitionRegistry, limits: Limits) -> None:
        self._database, self._catalogue, self._limits = database, catalogue, limits
        self._listener = InboxListener(database.url)
        self._open_streams = 0
        self._streams_of: Counter[str] = Counter()
        self._ending = False

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG, refuses=("not-found",))
        of_user = "/v1/users/{id:id}/inbox"
        add("GET", of_user, self.inbox, scope=Scope.READ, summary="List in-app messages", gives=Page[InboxItem])
        add(
            "GET",
            f"{of_user}/stream",
            self.stream,
            scope=Scope.READ,
            summary="Stream in-app messages",
            refuses=("not-found", "quota-exceeded"),
            responses={200: {"description": "Events", "content": {EVENT_STREAM: {"schema": {"type": "string"}}}}},
        )
        for mark in ("seen", "acted", "dismissed"):
            add(
                "POST",
                f"/v1/inbox/{{id}}/{mark}",
                getattr(self, mark),
                summary=f"Mark as {mark}",
                gives=InboxItem,
                refuses=("not-found", "clock-advancing"),
            )

        add(
            "POST",
            "/v1/inbox/{id}/answered",
            self.answered,
            summary="Answer a survey",
            gives=InboxItem,
            refuses=("not-found", "conflict", "clock-advancing"),
        )

    def end_streams(self) -> None:
        """End every stream. Clients reconnect to another process or to the next one."""
        self._ending = True
        self._listener.wake_all()

    async def inbox(
        self, id: RecordId, waiting: bool = False, on_page: OnPage = None, limit: Limit = 50, cursor: Cursor = None
    ) -> Response:
        """Newest first. `waiting=true` leaves out messages that were acted on or dismissed."""
        async with self._database.reading() as connection:
            keys = await queries.subject_keys(connection, (await known_subject(connection, "user", id)).key)
        return await self.listed(keys, waiting=waiting, on_page=on_page, limit=limit, cursor=cursor)

    async def listed(
        self, keys: list[str], *, waiting: bool, on_page: str | None, limit: int, cursor: str | None
    ) -> Response:
        """The messages of one person, under all their keys."""
        position = decode(cursor, str)
        async with self._database.reading() as connection:
            before = position[0] if position else None
            items = await inbox_items.list_inbox(
                connection, keys, waiting=waiting, before=before, limit=limit + 1, page=on_page
            )
        return page_of(items, limit, lambda item: (item["id"],))

    async def stream(self, id: RecordId, on_page: OnPage = None, last_event_id: LastEventId = None) -> Response:
        """Server-sent events: first all waiting messages, then each message when it is added or changes.

        Every event has the whole message. A client that reconnects with `Last-Event-ID` gets the changes since. A message may be
        sent twice; clients recognise it by its id.
        """
        async with self._database.reading() as connection:
            keys = await queries.subject_keys(connection, (await known_subject(connection, "user", id)).key)
        return self.streamed(keys, last_event_id, on_page)

    def streamed(
        self, keys: list[str], last_event_id: str | None, on_page: str | None, until: datetime | None = None
    ) -> Response:
        """A stream of one person's messages, which ends at `until`. Raises ProblemError when too many are open."""
        if self._open_streams >= self._limits.streams:
            raise ProblemError(
                "quota-exceeded",
                f"{self._open_streams} streams are open on this process. Try again later, or poll the inbox.",
            )
        if until is not None and self._streams_of[keys[0]] >= self._limits.streams_of_one:
            raise ProblemError("quota-exceeded", "This person has too many streams open. Close one, or poll the inbox.")
        since = int(last_event_id) if last_event_id is not None else None
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._changes(keys, since, on_page, until), media_type=EVENT_STREAM, headers=headers)

    async def _changes(
        self, keys: list[str], since: int | None, on_page: str | None, until: datetime | None
    ) -> AsyncIterator[bytes]:
        hashes: dict[str, int] = {}
        person = keys[0] if until is not None else ""
        self._open_streams += 1
        self._streams_of[person] += 1
        try:
            async with self._listener.changes(keys) as notified:
                yield b"retry: %d\n\n" % RETRY_MILLISECONDS
                while not self._ending and (seconds := _seconds_left(until)) > 0:
                    notified.clear()
                    async with self._database.reading() as connection:
                        changes = await inbox_items.inbox_changes(connection, keys, since, on_page)
                    for item in changes.items:
                        data = json_response(item).body
                        if hashes.get(item["id"]) != hash(bytes(data)):
                            hashes[item["id"]] = hash(bytes(data))
                            yield b"event: message\ndata: %b\n\n" % bytes(data)
                    # An id without data is no event: the client sends it when it reconnects, having all events before it.
                    yield b"id: %d\n\n" % changes.upto if changes.upto != since else b": still here\n\n"
                    since = changes.upto
                    await _notified_or_heartbeat(notified, seconds)
        finally:
            self._open_streams -= 1
            self._streams_of -= Counter((person,))  # subtraction removes counts of zero

    async def seen(self, id: ItemId, item: DigestPart = None) -> Response:
        return await self.mark(id, "seen", item)

    async def acted(self, id: ItemId, item: DigestPart = None) -> Response:
        """The person followed the message's single action."""
        return await self.mark(id, "acted", item)

    async def dismissed(self, id: ItemId, item: DigestPart = None) -> Response:
        return await self.mark(id, "dismissed", item)

    async def answered(self, id: ItemId, body: SurveyAnswer, item: DigestPart = None) -> Response:
        """Answer a survey. The signal `survey_answered` has `score` or `choice`, and `comment`. The first answer counts."""
        return await self.answer(id, body, item)

    async def answer(self, id: UUID, body: SurveyAnswer, item: str | None, of: list[str] | None = None) -> Response:
        """Answer a survey; `of` restricts it to the messages of a person with these keys."""
        try:
            updated = await inbox_interactions.record_survey_answer(
                self._database, self._catalogue, str(id), body.value, body.comment, item, of=of
            )
        except LookupError as error:
            raise ProblemError("not-found", "This digest has no message with that key.") from error
        except inbox_interactions.NotASurvey as error:
            raise ProblemError("conflict", "This message is not a survey, so it cannot be answered.") from error
        except inbox_interactions.AnsweredDifferently as error:
            raise ProblemError("conflict", "The survey already has another answer, which is kept.") from error
        except ValueError as error:
            fault = {"detail": str(error), "pointer": "/value"}
            raise ProblemError("invalid-request", "This survey has no such answer.", [fault]) from error
        if updated is None:
            raise ProblemError("not-found", "There is no message with this id.")
        return json_response(updated)

    async def mark(
        self, id: UUID, interaction: inbox_interactions.Mark, item: str | None, of: list[str] | None = None
    ) -> Response:
        """Mark a message; commits the signal `message_<interaction>` once. `of` restricts it to a person's keys."""
        try:
            updated = await inbox_interactions.record_interaction(
                self._database, self._catalogue, str(id), interaction, item, of=of
            )
        except LookupError as error:
            raise ProblemError("not-found", "This digest has no message with that key.") from error
        if updated is None:
            raise ProblemError("not-found", "There is no message with this id.")
        return json_response(updated)


def _seconds_left(until: datetime | None) -> float:
    """Seconds until the stream ends, or until the next heartbeat if it has no end."""
    return HEARTBEAT_SECONDS if until is None else (until - datetime.now(UTC)).total_seconds()


async def _notified_or_heartbeat(notified: asyncio.Event, seconds: float) -> None:
    """Wait for a notification, or for the heartbeat: the inbox is read again even if a notification was lost."""
    try:
        async with asyncio.timeout(min(HEARTBEAT_SECONDS, seconds)):
            await notified.wait()
    except TimeoutError:
        return
