"""Consent over HTTP: what a person has said, the log of it, and a change that takes effect in its own commit."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints
from starlette.responses import Response

from api.keys import Scope
from api.pages import Cursor, Id, Limit, Page, Word, answer, decode, page
from api.people import known
from api.routes import Routes
from api.shapes import ConsentView, Logged
from journeys.policy import Policy
from store import consents, queries
from store.catalogue import Catalogue
from store.consents import Change
from store.database import Database

TAG = "Consent"
Topic = Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9_-]{0,63}|\*)$")]


class ConsentIn(BaseModel):
    """What the person says to a channel (`*`: every one) and a topic (`*`: every one), and where they said it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"channel": "email", "topic": "onboarding", "granted": False, "source": "preference-centre"}
        },
    )

    channel: Literal["email", "in_app", "*"]
    topic: Topic
    granted: bool
    source: Word


class ConsentTaken(BaseModel):
    """Recorded, with what it changed at once."""

    at: datetime
    withdrawn_messages: int
    ended_runs: int


class Consented(BaseModel):
    """What holds now."""

    items: list[ConsentView]


class Consents:
    """The routes of consent."""

    def __init__(self, database: Database, catalogue: Catalogue, policy: Policy) -> None:
        self._database = database
        self._catalogue = catalogue
        self._policy = policy

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG, refuses=("not-found",))
        add("GET", "/v1/users/{id:id}/consents", self.holds, summary="What a person has agreed to", gives=Consented)
        add("PUT", "/v1/users/{id:id}/consents", self.change, summary="Grant or withdraw", gives=ConsentTaken)
        add("GET", "/v1/users/{id:id}/consents/log", self.log, summary="Everything they ever said", gives=Page[Logged])

    async def holds(self, id: Id) -> Response:
        """Where nothing is said the policy's default holds."""
        async with self._database.reading() as connection:
            found = await known(connection, "user", id)
            items = await consents.list_consents(connection, found.key)
        return answer({"items": items})

    async def change(self, id: Id, consent: ConsentIn) -> Response:
        """A withdrawal takes back what is queued and ends journeys that have no channel left to speak by."""
        async with self._database.reading() as connection:
            found = await known(connection, "user", id)
        change = Change(**consent.model_dump())
        effect = await consents.change_consent(self._database, self._catalogue, self._policy, found.key, change)
        return answer({"at": effect.at, "withdrawn_messages": effect.withdrawn, "ended_runs": effect.ended})

    async def log(self, id: Id, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """The newest first; nothing is ever taken out."""
        place = decode(cursor, int)
        async with self._database.reading() as connection:
            keys = await queries.keys_of(connection, (await known(connection, "user", id)).key)
            found = await consents.consent_log(connection, keys, place[0] if place else None, limit + 1)
        return page(found, limit, lambda entry: (entry["id"],))
