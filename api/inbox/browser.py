"""In-app inbox for browsers, opened by a short-lived token.

The token is all the authority there is: no cookie goes along, so a page of any origin may ask (`Access-Control-Allow-Origin: *`,
without credentials), and learns nothing that its token does not open. `EventSource` cannot send headers, so it may also stand
in the query; it opens one person's messages and is over within the hour.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Final, get_args

from fastapi import Header, Query
from starlette.responses import Response

from api.http.auth import Scope
from api.http.pagination import Cursor, Limit, Page, RecordId, RowId, json_response
from api.http.problems import ProblemError, translate
from api.http.routes import Routes
from api.inbox.endpoints import EVENT_STREAM, DigestPart, InboxRoutes, LastEventId, OnPage
from api.inbox.schemas import InboxItem, InboxTokenIn, InboxTokenView, PreflightResponse, SurveyAnswer
from api.people.endpoints import known_subject
from journeys.tokens.inbox_tokens import InboxPass, inbox_token, read_inbox_token
from journeys.tokens.signed_links import MAX_TOKEN, LinkError, LinkExpired
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.engagement.inbox_interactions import Mark
from store.people import subjects
from store.reads import people as queries

TAG = "Browsers"
HERE: Final = "/v1/front/inbox"
OPEN: Final = {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-store"}
_ASKED: Final = {
    **OPEN,
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Last-Event-ID",
    "Access-Control-Max-Age": "600",
}
_ANSWERED: Final = ("unauthenticated", "not-found", "conflict")
Authorization = Annotated[str | None, Header(description="`Bearer` and the token.")]
TokenInQuery = Annotated[
    str | None, Query(max_length=MAX_TOKEN, alias="token", description="The token, for an `EventSource`.")
]


def _may() -> Response:
    response = json_response(PreflightResponse(origins="*").model_dump())
    response.headers.update(_ASKED)
    return response


class BrowserRoutes:
    """The routes below `/v1/front`, and the one that makes their tokens."""

    def __init__(self, database: Database, catalogue: DefinitionRegistry, inboxes: InboxRoutes) -> None:
        self._database, self._inboxes = database, inboxes
        self._keys = catalogue.consent.links.keys

    def routes(self, routes: Routes) -> None:
        routes.add(
            "POST",
            "/v1/users/{id:id}/front-token",
            self.make,
            Scope.OPERATE,
            summary="A token for this person's browser",
            tag=TAG,
            gives=InboxTokenView,
            status=201,
            refuses=("not-found",),
        )
        add = partial(routes.add, scope=Scope.PUBLIC, tag=TAG, refuses=("unauthenticated", "not-found"))
        add("GET", HERE, self.inbox, summary="One's own in-app messages", gives=Page[InboxItem])
        add("OPTIONS", HERE, self.may_ask, summary="May a page of another origin ask", gives=PreflightResponse)
        add(
            "GET",
            f"{HERE}/stream",
            self.stream,
            summary="One's own in-app messages as they come",
            refuses=("unauthenticated", "not-found", "quota-exceeded"),
            responses={200: {"description": "Events", "content": {EVENT_STREAM: {"schema": {"type": "string"}}}}},
        )
        add(
            "OPTIONS",
            f"{HERE}/stream",
            self.may_stream,
            summary="May a page of another origin listen",
            gives=PreflightResponse,
        )
        path = f"{HERE}/{{id}}/answered"
        add("POST", path, self.answered, summary="Answer one's own survey", gives=InboxItem, refuses=_ANSWERED)
        add("OPTIONS", path, self.may_answer, summary="May it answer", gives=PreflightResponse)
        for what in get_args(Mark):
            path = f"{HERE}/{{id}}/{what}"
            add("POST", path, getattr(self, what), summary=f"Mark one's own as {what}", gives=InboxItem)
            add(
                "OPTIONS",
                path,
                getattr(self, f"may_mark_{what}"),
                summary=f"May it mark as {what}",
                gives=PreflightResponse,
            )

    async def make(self, id: RecordId, wish: InboxTokenIn) -> Response:
        """For the product's back end, which knows who is logged in. Good for the minutes that are asked for, an hour at most."""
        async with self._database.reading() as connection:
            person = (await known_subject(connection, "user", id)).key
        until = (datetime.now(UTC) + timedelta(minutes=wish.minutes)).replace(microsecond=0)
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
        """The newest first; `waiting=true` leaves out what was acted on or dismissed."""

        async def found(keys: list[str], _: InboxPass) -> Response:
            return await self._inboxes.listed(keys, waiting=waiting, on_page=on_page, limit=limit, cursor=cursor)

        return await self._for_whom(authorization, token, found)

    async def stream(
        self,
        authorization: Authorization = None,
        token: TokenInQuery = None,
        on_page: OnPage = None,
        last_event_id: LastEventId = None,
    ) -> Response:
        """As `/v1/users/{id}/inbox/stream`; it ends with its token, and goes on from `Last-Event-ID` with a new one."""

        async def found(keys: list[str], by: InboxPass) -> Response:
            return self._inboxes.streamed(keys, last_event_id, on_page, by.until)

        return await self._for_whom(authorization, token, found)

    async def seen(
        self, id: RowId, authorization: Authorization = None, token: TokenInQuery = None, item: DigestPart = None
    ) -> Response:
        return await self._mark(id, "seen", authorization, token, item)

    async def acted(
        self, id: RowId, authorization: Authorization = None, token: TokenInQuery = None, item: DigestPart = None
    ) -> Response:
        """The person followed the message's single action."""
        return await self._mark(id, "acted", authorization, token, item)

    async def dismissed(
        self, id: RowId, authorization: Authorization = None, token: TokenInQuery = None, item: DigestPart = None
    ) -> Response:
        return await self._mark(id, "dismissed", authorization, token, item)

    async def answered(
        self,
        id: RowId,
        body: SurveyAnswer,
        authorization: Authorization = None,
        token: TokenInQuery = None,
        item: DigestPart = None,
    ) -> Response:
        """As `/v1/inbox/{id}/answered`, for what this person was asked."""

        async def found(keys: list[str], _: InboxPass) -> Response:
            return await self._inboxes.answer(id, body, item, keys)

        return await self._for_whom(authorization, token, found)

    async def _mark(
        self, id: int, what: Mark, authorization: str | None, token: str | None, item: str | None
    ) -> Response:
        async def found(keys: list[str], _: InboxPass) -> Response:
            return await self._inboxes.mark(id, what, item, keys)

        return await self._for_whom(authorization, token, found)

    async def _for_whom(
        self, authorization: str | None, token: str | None, work: Callable[[list[str], InboxPass], Awaitable[Response]]
    ) -> Response:
        """Done for whose token it is. Refusals, too, are for the page to read."""
        try:
            by = self._read(authorization, token)
            async with self._database.reading() as connection:
                keys = await queries.subject_keys(connection, await subjects.canonical_key(connection, by.person))
            response = await work(keys, by)
        except Exception as error:  # noqa: BLE001 -- the edge: every error becomes a problem here
            response = translate(error).response()
        response.headers.update(OPEN)
        return response

    def _read(self, authorization: str | None, token: str | None) -> InboxPass:
        """Raises ProblemError for no token, one that is over, and one that is not ours."""
        kind, _, bearer = (authorization or "").partition(" ")
        given = bearer.strip() if kind.lower() == "bearer" else token
        if not given:
            raise ProblemError(
                "unauthenticated", "Give a token: `Bearer`, or `token` in the query. The back end has it."
            )
        try:
            return read_inbox_token(self._keys, given, datetime.now(UTC))
        except LinkExpired as error:
            raise ProblemError("unauthenticated", "The token is over: let the back end ask for a new one.") from error
        except (LinkError, ValueError) as error:
            raise ProblemError("unauthenticated", "This token is not one of ours.") from error

    # A browser asks these before it sends a header of ours; each route has its own name in the description.

    async def may_ask(self) -> Response:
        return _may()

    async def may_stream(self) -> Response:
        return _may()

    async def may_answer(self, id: RowId) -> Response:  # noqa: ARG002 -- of the path
        return _may()

    async def may_mark_seen(self, id: RowId) -> Response:  # noqa: ARG002 -- of the path
        return _may()

    async def may_mark_acted(self, id: RowId) -> Response:  # noqa: ARG002 -- of the path
        return _may()

    async def may_mark_dismissed(self, id: RowId) -> Response:  # noqa: ARG002 -- of the path
        return _may()
