"""In-app inbox for browsers, opened by a short-lived token.

The token is the only authority. No cookie is sent, so pages of any origin may call (`Access-Control-Allow-Origin: *`, without
credentials). `EventSource` cannot send headers, so the token may also be in the query: it gives access to one person's messages
and expires within an hour.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Final, get_args
from uuid import UUID

from fastapi import Header, Query
from starlette.responses import Response

from api.http.pagination import Cursor, Limit, Page, RecordId, json_response
from api.http.problems import ProblemError, translate
from api.http.routes import Routes
from api.inbox.endpoints import EVENT_STREAM, DigestPart, InboxRoutes, ItemId, LastEventId, OnPage
from api.inbox.schemas import InboxItem, InboxTokenIn, InboxTokenView, PreflightResponse, SurveyAnswer
from api.people.endpoints import known_subject
from journeys.access.callers import Scope
from journeys.tokens.inbox_tokens import InboxPass, inbox_token, read_inbox_token
from journeys.tokens.signed_links import MAX_TOKEN, LinkError, LinkExpired
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.engagement.inbox_interactions import Mark
from store.people import subjects
from store.reads import people as queries

TAG = "Browsers"
INBOX_PATH: Final = "/v1/front/inbox"
CORS_HEADERS: Final = {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-store"}
_PREFLIGHT_HEADERS: Final = {
    **CORS_HEADERS,
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Last-Event-ID",
    "Access-Control-Max-Age": "600",
}
_ANSWER_REFUSES: Final = ("unauthenticated", "not-found", "conflict", "clock-advancing")
Authorization = Annotated[str | None, Header(description="`Bearer` and the token.")]
TokenInQuery = Annotated[
    str | None, Query(max_length=MAX_TOKEN, alias="token", description="The token, for an `EventSource`.")
]


def _preflight() -> Response:
    response = json_response(PreflightResponse(origins="*").model_dump())
    response.headers.update(_PREFLIGHT_HEADERS)
    return response


class BrowserRoutes:
    """Routes below `/v1/front`, and the one that issues their tokens."""

    def __init__(self, database: Database, catalogue: DefinitionRegistry, inboxes: InboxRoutes) -> None:
        self._database, self._inboxes = database, inboxes
        self._keys = catalogue.consent.links.keys

    def routes(self, routes: Routes) -> None:
        routes.add(
            "POST",
            "/v1/users/{id:id}/front-token",
            self.make,
            Scope.OPERATE,
            summary="Issue a token for a person's browser",
            tag=TAG,
            gives=InboxTokenView,
            status=201,
            refuses=("not-found",),
        )
        add = partial(routes.add, scope=Scope.TOKEN, tag=TAG, refuses=("unauthenticated", "not-found"))
        add("GET", INBOX_PATH, self.inbox, summary="List one's own in-app messages", gives=Page[InboxItem])
        preflight = partial(add, "OPTIONS", scope=Scope.ANYONE, gives=PreflightResponse)
        preflight(INBOX_PATH, self.may_ask, summary="CORS preflight of the list")
        add(
            "GET",
            f"{INBOX_PATH}/stream",
            self.stream,
            summary="Stream one's own in-app messages",
            refuses=("unauthenticated", "not-found", "quota-exceeded"),
            responses={200: {"description": "Events", "content": {EVENT_STREAM: {"schema": {"type": "string"}}}}},
        )
        preflight(f"{INBOX_PATH}/stream", self.may_stream, summary="CORS preflight of the stream")
        path = f"{INBOX_PATH}/{{id}}/answered"
        add("POST", path, self.answered, summary="Answer one's own survey", gives=InboxItem, refuses=_ANSWER_REFUSES)
        preflight(path, self.may_answer, summary="CORS preflight of an answer")
        for mark in get_args(Mark):
            path = f"{INBOX_PATH}/{{id}}/{mark}"
            add(
                "POST",
                path,
                getattr(self, mark),
                summary=f"Mark one's own message as {mark}",
                gives=InboxItem,
                refuses=("unauthenticated", "not-found", "clock-advancing"),
            )
            preflight(path, getattr(self, f"may_mark_{mark}"), summary=f"CORS preflight of marking as {mark}")

    async def make(self, id: RecordId, request: InboxTokenIn) -> Response:
        """For the product's back end, which authenticates the person. The token is valid for `minutes`, at most 60."""
        async with self._database.reading() as connection:
            person = (await known_subject(connection, "user", id)).key
        until = (datetime.now(UTC) + timedelta(minutes=request.minutes)).replace(microsecond=0)
        return json_response({"token": inbox_token(self._keys, person, until), "expires_at": until}, 201)

    async def inbox(
        self,
        authorization: Authorization = None,
        token: TokenInQuery = None,
        waiting: bool = False,
        on_page: OnPage = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """Newest first. `waiting=true` leaves out messages that were acted on or dismissed."""

        async def work(keys: list[str], _: InboxPass) -> Response:
            return await self._inboxes.listed(keys, waiting=waiting, on_page=on_page, limit=limit, cursor=cursor)

        return await self._with_token(authorization, token, work)

    async def stream(
        self,
        authorization: Authorization = None,
        token: TokenInQuery = None,
        on_page: OnPage = None,
        last_event_id: LastEventId = None,
    ) -> Response:
        """As `/v1/users/{id}/inbox/stream`. It ends when the token expires; continue with a new one and `Last-Event-ID`."""

        async def work(keys: list[str], inbox_pass: InboxPass) -> Response:
            return self._inboxes.streamed(keys, last_event_id, on_page, inbox_pass.until)

        return await self._with_token(authorization, token, work)

    async def seen(
        self, id: ItemId, authorization: Authorization = None, token: TokenInQuery = None, item: DigestPart = None
    ) -> Response:
        return await self._mark(id, "seen", authorization, token, item)

    async def acted(
        self, id: ItemId, authorization: Authorization = None, token: TokenInQuery = None, item: DigestPart = None
    ) -> Response:
        """The person followed the message's single action."""
        return await self._mark(id, "acted", authorization, token, item)

    async def dismissed(
        self, id: ItemId, authorization: Authorization = None, token: TokenInQuery = None, item: DigestPart = None
    ) -> Response:
        return await self._mark(id, "dismissed", authorization, token, item)

    async def answered(
        self,
        id: ItemId,
        body: SurveyAnswer,
        authorization: Authorization = None,
        token: TokenInQuery = None,
        item: DigestPart = None,
    ) -> Response:
        """As `/v1/inbox/{id}/answered`, for this person's surveys."""

        async def work(keys: list[str], _: InboxPass) -> Response:
            return await self._inboxes.answer(id, body, item, keys)

        return await self._with_token(authorization, token, work)

    async def _mark(
        self, id: UUID, mark: Mark, authorization: str | None, token: str | None, item: str | None
    ) -> Response:
        async def work(keys: list[str], _: InboxPass) -> Response:
            return await self._inboxes.mark(id, mark, item, keys)

        return await self._with_token(authorization, token, work)

    async def _with_token(
        self, authorization: str | None, token: str | None, work: Callable[[list[str], InboxPass], Awaitable[Response]]
    ) -> Response:
        """Call `work` for the person of the token. Refusals have the CORS headers too, so that the page can read them."""
        try:
            inbox_pass = self._read(authorization, token)
            async with self._database.reading() as connection:
                if await subjects.canonical_key(connection, inbox_pass.person) != inbox_pass.person:
                    # A visitor may have been taken for any user since: the user's back end issues a token of their own.
                    raise ProblemError(
                        "unauthenticated", "The person has signed in since. Get a new token from the back end."
                    )
                keys = await queries.subject_keys(connection, inbox_pass.person)
            response = await work(keys, inbox_pass)
        except Exception as error:  # noqa: BLE001 -- the edge: every error becomes a problem here
            response = translate(error).response()
        response.headers.update(CORS_HEADERS)
        return response

    def _read(self, authorization: str | None, token: str | None) -> InboxPass:
        """The token's contents. Raises ProblemError if it is missing, expired or invalid."""
        kind, _, bearer = (authorization or "").partition(" ")
        text = bearer.strip() if kind.lower() == "bearer" else token
        if not text:
            raise ProblemError(
                "unauthenticated", "Send a token: as `Bearer`, or as `token` in the query. The back end issues it."
            )
        try:
            return read_inbox_token(self._keys, text, datetime.now(UTC))
        except LinkExpired as error:
            raise ProblemError("unauthenticated", "The token has expired. Get a new one from the back end.") from error
        except (LinkError, ValueError) as error:
            raise ProblemError("unauthenticated", "This token is invalid.") from error

    # CORS preflights. Each has its own function, because OpenAPI needs distinct operation ids.

    async def may_ask(self) -> Response:
        return _preflight()

    async def may_stream(self) -> Response:
        return _preflight()

    async def may_answer(self, id: ItemId) -> Response:  # noqa: ARG002 -- of the path
        return _preflight()

    async def may_mark_seen(self, id: ItemId) -> Response:  # noqa: ARG002 -- of the path
        return _preflight()

    async def may_mark_acted(self, id: ItemId) -> Response:  # noqa: ARG002 -- of the path
        return _preflight()

    async def may_mark_dismissed(self, id: ItemId) -> Response:  # noqa: ARG002 -- of the path
        return _preflight()
