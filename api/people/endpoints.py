"""Endpoints of people and accounts: fields, runs, messages, timeline."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Query
from starlette.responses import Response

from api.http.pagination import Cursor, Limit, Page, RecordId, decode, json_response, number_in, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.http.schemas import MessageView, RunView, TimelineEntry
from api.people.schemas import SubjectView
from journeys.access.callers import Scope
from journeys.events.held_events import held_sentence
from journeys.gate.status import Status
from store.database import Connection, Database
from store.reads import people as queries
from store.reads import timeline as timelines
from store.reads.messages import list_messages
from store.reads.people import SubjectKeys, SubjectKind
from store.reads.runs import list_runs

TAG = "People and accounts"
RunStatus = Annotated[Literal["open", "closed"] | None, Query(description="Only this status; by default all.")]
MessageStatus = Annotated[Status | None, Query(description="Only this status; by default all.")]


async def known_subject(connection: Connection, kind: SubjectKind, value: str) -> SubjectKeys:
    """The subject with this id. Raises ProblemError if no event has named it."""
    subject = await queries.find_subject(connection, kind, value)
    if subject is None:
        held = held_sentence(*await queries.held_events_naming(connection, kind, value)) if "\x00" not in value else ""
        raise ProblemError("not-found", f"No event has named this {kind} yet." + f" {held}." * bool(held))
    return subject


async def held_view(connection: Connection, keys: list[str]) -> dict[str, Any]:
    """The quarantined events that name a subject, as `HeldView`."""
    groups, count = await queries.held_events_of(connection, keys)
    return {"count": count, "names": [asdict(group) for group in groups], "text": held_sentence(groups, count)}


class PeopleRoutes:
    """Routes below `/v1/users/{id}` and `/v1/accounts/{id}` that only read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self, routes: Routes) -> None:
        get = partial(routes.add, "GET", scope=Scope.READ, tag=TAG, refuses=("not-found",))
        get("/v1/users/{id:id}", self.user, summary="Get a person", gives=SubjectView)
        get("/v1/accounts/{id:id}", self.account, summary="Get an account", gives=SubjectView)
        get("/v1/users/{id:id}/journeys", self.user_journeys, summary="List a person's journeys", gives=Page[RunView])
        get(
            "/v1/accounts/{id:id}/journeys",
            self.account_journeys,
            summary="List an account's journeys",
            gives=Page[RunView],
        )
        get(
            "/v1/users/{id:id}/timeline",
            self.timeline,
            summary="Timeline of a person, with reasons",
            gives=Page[TimelineEntry],
        )
        get("/v1/users/{id:id}/messages", self.messages, summary="List a person's messages", gives=Page[MessageView])

    async def user(self, id: RecordId) -> Response:
        """By user id, anonymous id or key; an anonymous visitor is a person too."""
        return await self._subject("user", id)

    async def account(self, id: RecordId) -> Response:
        return await self._subject("account", id)

    async def _subject(self, kind: SubjectKind, value: str) -> Response:
        async with self._database.reading() as connection:
            subject = await known_subject(connection, kind, value)
            held = await held_view(connection, await queries.subject_keys(connection, subject.key))
            view: dict[str, Any] = {
                "key": subject.key,
                "kind": subject.kind,
                "identities": await queries.identities_of_subject(connection, subject.key),
                "account": await queries.account_id(connection, subject.account_key),
                "profile": subject.profile,
                "origins": {
                    name: origin._asdict() for name, origin in subject.origins.items() if name in subject.profile
                },
                "clock": subject.clock,
                "held": held,
                "created_at": subject.created_at,
                "updated_at": subject.updated_at,
            }
        return json_response(view)

    async def user_journeys(
        self, id: RecordId, status: RunStatus = None, limit: Limit = 50, cursor: Cursor = None
    ) -> Response:
        """Newest first, including those from before the person was identified."""
        return await self._journeys("user", id, status, limit, cursor)

    async def account_journeys(
        self, id: RecordId, status: RunStatus = None, limit: Limit = 50, cursor: Cursor = None
    ) -> Response:
        """Journeys of the account itself; those of its members are listed under the members."""
        return await self._journeys("account", id, status, limit, cursor)

    async def _journeys(
        self, kind: SubjectKind, value: str, status: str | None, limit: int, cursor: str | None
    ) -> Response:
        position = decode(cursor, datetime, str)
        after = (position[0], position[1]) if position else None
        async with self._database.reading() as connection:
            keys = await self._keys(connection, kind, value)
            runs = await list_runs(connection, keys, status, after, limit + 1)
        return page_of(runs, limit, lambda run: (run["started_at"], run["id"]))

    async def timeline(self, id: RecordId, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """Events, accepted and held, decisions of every journey and verdicts on messages, newest first."""
        position = decode(cursor, datetime, str, str)
        after = (position[0], position[1], position[2]) if position else None
        async with self._database.reading() as connection:
            keys = await self._keys(connection, "user", id)
            entries = await timelines.timeline_of_person(connection, keys, after, limit + 1)
        return page_of(entries, limit, lambda entry: (entry["at"], entry["source"], entry["id"]))

    async def messages(
        self, id: RecordId, status: MessageStatus = None, limit: Limit = 50, cursor: Cursor = None
    ) -> Response:
        """Every message with its reasons, sent or not, newest first."""
        before = number_in(cursor)
        async with self._database.reading() as connection:
            keys = await self._keys(connection, "user", id)
            rows = await list_messages(connection, keys=keys, status=status, before=before, limit=limit + 1)
        return page_of(rows, limit)

    async def _keys(self, connection: Connection, kind: SubjectKind, value: str) -> list[str]:
        return await queries.subject_keys(connection, (await known_subject(connection, kind, value)).key)
