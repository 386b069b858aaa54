"""Endpoints of people and accounts: fields, runs, messages, timeline."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Query
from starlette.responses import Response

from api.http.auth import Scope
from api.http.pagination import Cursor, Limit, Page, RecordId, decode, json_response, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.http.schemas import MessageView, RunView, TimelineEntry
from api.people.schemas import SubjectView
from journeys.gate.status import Status
from store.database import Connection, Database
from store.reads import people as queries
from store.reads import timeline as timelines
from store.reads.messages import list_messages
from store.reads.people import SubjectKeys, SubjectKind
from store.reads.runs import list_runs

TAG = "People and accounts"
RunStatus = Annotated[Literal["open", "closed"] | None, Query(description="Only these; all if not given.")]
MessageStatus = Annotated[Status | None, Query(description="Only these; all if not given.")]


async def known_subject(connection: Connection, kind: SubjectKind, value: str) -> SubjectKeys:
    """Who this is. Raises ProblemError when no event has named them."""
    found = await queries.find_subject(connection, kind, value)
    if found is None:
        raise ProblemError("not-found", f"No event has named this {kind} yet.")
    return found


class PeopleRoutes:
    """The routes below `/v1/users/{id}` and `/v1/accounts/{id}` that only read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self, routes: Routes) -> None:
        get = partial(routes.add, "GET", scope=Scope.OPERATE, tag=TAG, refuses=("not-found",))
        get("/v1/users/{id:id}", self.user, summary="A person as events have told of them", gives=SubjectView)
        get("/v1/accounts/{id:id}", self.account, summary="An account as events have told of it", gives=SubjectView)
        get("/v1/users/{id:id}/journeys", self.user_journeys, summary="A person's journeys", gives=Page[RunView])
        get(
            "/v1/accounts/{id:id}/journeys", self.account_journeys, summary="An account's journeys", gives=Page[RunView]
        )
        get("/v1/users/{id:id}/timeline", self.timeline, summary="Why did, and why did not", gives=Page[TimelineEntry])
        get("/v1/users/{id:id}/messages", self.messages, summary="Every message, with reasons", gives=Page[MessageView])

    async def user(self, id: RecordId) -> Response:
        """By user id, anonymous id or key; an anonymous visitor is a person too."""
        return await self._subject("user", id)

    async def account(self, id: RecordId) -> Response:
        return await self._subject("account", id)

    async def _subject(self, kind: SubjectKind, value: str) -> Response:
        async with self._database.reading() as connection:
            found = await known_subject(connection, kind, value)
            view: dict[str, Any] = {
                "key": found.key,
                "kind": found.kind,
                "identities": await queries.identities_of_subject(connection, found.key),
                "account": await queries.account_id(connection, found.account_key),
                "profile": found.profile,
                "clock": found.clock,
                "created_at": found.created_at,
                "updated_at": found.updated_at,
            }
        return json_response(view)

    async def user_journeys(
        self, id: RecordId, status: RunStatus = None, limit: Limit = 50, cursor: Cursor = None
    ) -> Response:
        """The newest first, those of their anonymous time included."""
        return await self._journeys("user", id, status, limit, cursor)

    async def account_journeys(
        self, id: RecordId, status: RunStatus = None, limit: Limit = 50, cursor: Cursor = None
    ) -> Response:
        """Journeys of the account itself; those of its members are with them."""
        return await self._journeys("account", id, status, limit, cursor)

    async def _journeys(
        self, kind: SubjectKind, value: str, status: str | None, limit: int, cursor: str | None
    ) -> Response:
        place = decode(cursor, datetime, str)
        after = (place[0], place[1]) if place else None
        async with self._database.reading() as connection:
            keys = await self._keys(connection, kind, value)
            found = await list_runs(connection, keys, status, after, limit + 1)
        return page_of(found, limit, lambda run: (run["started_at"], run["id"]))

    async def timeline(self, id: RecordId, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """Events, decisions of every journey and verdicts on messages, the newest first."""
        place = decode(cursor, datetime, str, str)
        after = (place[0], place[1], place[2]) if place else None
        async with self._database.reading() as connection:
            keys = await self._keys(connection, "user", id)
            found = await timelines.timeline_of_person(connection, keys, after, limit + 1)
        return page_of(found, limit, lambda told: (told["at"], told["source"], told["id"]))

    async def messages(
        self, id: RecordId, status: MessageStatus = None, limit: Limit = 50, cursor: Cursor = None
    ) -> Response:
        """Sent, waiting, withheld or withdrawn, the newest first."""
        place = decode(cursor, int)
        async with self._database.reading() as connection:
            keys = await self._keys(connection, "user", id)
            before = place[0] if place else None
            found = await list_messages(connection, keys=keys, status=status, before=before, limit=limit + 1)
        return page_of(found, limit, lambda message: (message["id"],))

    async def _keys(self, connection: Connection, kind: SubjectKind, value: str) -> list[str]:
        return await queries.subject_keys(connection, (await known_subject(connection, kind, value)).key)
