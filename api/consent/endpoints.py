"""Consent over HTTP: what a person has said, the log of it, and a change that takes effect in its own commit.

The answer to a withdrawal waits up to 5 s for attempts that had begun before it, and names those that are left then.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from starlette.responses import Response

from api.consent.preference_view import preference_view
from api.http.auth import Scope
from api.http.pagination import Cursor, Limit, Page, RecordId, ShortText, decode, json_response, page_of
from api.http.routes import Routes
from api.http.schemas import ConsentLogEntry, ConsentView, InFlightView
from api.inbound.vendors import LONGEST, VendorEvent
from api.inbound.webhooks import as_event
from api.people.endpoints import known_subject
from journeys.consent.rules import ChannelOrAny
from journeys.consent.statements import LONGEST_WORDING
from journeys.gate.policy import Policy
from journeys.protocol.wire import REPLIED
from journeys.tokens.address_hash import canonical_address
from store.consent import consents, double_opt_in, in_flight, sms_keywords
from store.consent.consents import ConsentChange, ConsentChangeResult
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.events.ingest import accept
from store.messages import provider_lookup
from store.reads import people as queries

TAG = "Consent"
TopicParam = Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9_-]{0,63}|\*)$")]
ProofName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Wording = Annotated[str, StringConstraints(max_length=LONGEST_WORDING, pattern=r"^[^\x00]*$")]


class ConsentIn(BaseModel):
    """What the person says to a channel (`*`: every one) and a topic (`*`: every one), and where they said it.

    `granted` null takes back what was said there: neither a yes nor a no. `wording` is what they were shown, `proof` what
    vouches for it, `ip` is kept as a keyed hash only. A yes with `confirmed` needs no confirmation of ours: `proof` says
    where theirs is.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"channel": "email", "topic": "onboarding", "granted": False, "source": "preference-centre"}
        },
    )

    channel: ChannelOrAny
    topic: TopicParam
    granted: bool | None
    source: ShortText
    wording: Wording = ""
    proof: Annotated[dict[ProofName, ShortText], Field(max_length=20)] = {}
    ip: ShortText | None = None
    confirmed: bool = False

    @model_validator(mode="after")
    def _proven(self) -> ConsentIn:
        if self.confirmed and not (self.granted and self.proof):
            raise ValueError("what was confirmed elsewhere is a yes, and needs a proof that says where")
        return self


class ConsentRecorded(BaseModel):
    """Recorded, with what it changed at once. `pending`: a yes that is none before its link is confirmed."""

    at: datetime
    withdrawn_messages: int
    ended_runs: int
    pending: bool = False
    in_flight: list[InFlightView] = []


class EffectiveConsentView(BaseModel):
    """Whether messages of a topic may come by a channel, and why, as the person is told."""

    channel: str
    topic: str
    allowed: bool
    why: str


class PendingView(BaseModel):
    """A yes that waits for its link."""

    channel: str
    topic: str
    asked_at: datetime


class ConsentResultView(BaseModel):
    """What was said (`items`), what holds by it (`holds`), and what still waits to be confirmed (`pending`)."""

    items: list[ConsentView]
    holds: list[EffectiveConsentView]
    pending: list[PendingView]


class TextMessageIn(BaseModel):
    """A text message that somebody sent: `id` is the provider's, as proof; handed in again with it, it changes nothing."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"phone": "+4366412345678", "text": "STOP", "id": "SM1"}}
    )

    phone: Annotated[str, StringConstraints(pattern=r"^\+?[0-9][0-9 ()/.-]{3,30}$")]
    text: Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]
    id: ShortText | None = None


class TextMessageResult(BaseModel):
    """What it was taken for; null: for a person to read. `people` is whose consent it changed: all who have that number."""

    wish: Literal["stop", "start"] | None
    people: int
    withdrawn_messages: int
    ended_runs: int
    in_flight: list[InFlightView] = []


class ConsentRoutes:
    """The routes of consent."""

    def __init__(self, database: Database, catalogue: DefinitionRegistry, policy: Policy, seconds: float) -> None:
        self._database = database
        self._catalogue = catalogue
        self._policy = policy
        self._seconds = seconds + in_flight.WAIT_SECONDS

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG, refuses=("not-found",), seconds=self._seconds)
        add(
            "GET",
            "/v1/users/{id:id}/consents",
            self.holds,
            summary="What a person has agreed to",
            gives=ConsentResultView,
        )
        add("PUT", "/v1/users/{id:id}/consents", self.change, summary="Grant or withdraw", gives=ConsentRecorded)
        add(
            "GET",
            "/v1/users/{id:id}/consents/log",
            self.log,
            summary="Everything they ever said",
            gives=Page[ConsentLogEntry],
        )
        add("POST", "/v1/inbound-texts", self.inbound, summary="A text message that came in", gives=TextMessageResult)

    async def holds(self, id: RecordId) -> Response:
        """Where nothing is said the policy's default holds."""
        async with self._database.reading() as connection:
            found = await known_subject(connection, "user", id)
            items = await consents.list_consents(connection, found.key)
            waiting = await double_opt_in.pending_confirmations(connection, found.key)
            choices = await preference_view(connection, self._catalogue, found.key)
        holds = [
            {"channel": each.place[0], "topic": each.place[1], "allowed": each.allowed, "why": each.why}
            for topic in choices.topics
            for each in topic.choices
        ]
        pending = [{name: item[name] for name in ("channel", "topic", "asked_at")} for item in waiting]
        return json_response({"items": items, "holds": holds, "pending": pending})

    async def change(self, id: RecordId, consent: ConsentIn) -> Response:
        """A withdrawal takes back what is queued and ends journeys that have no channel left to speak by."""
        async with self._database.reading() as connection:
            found = await known_subject(connection, "user", id)
        said = consent.model_dump(exclude={"ip"})
        if consent.ip is not None:
            said["proof"] = {**said["proof"], "ip_hash": self._catalogue.consent.addresses.digest("ip", consent.ip)}
        effect = await consents.change_consent(
            self._database, self._catalogue, self._policy, found.key, ConsentChange(**said)
        )
        return json_response({**await self._told([effect]), "at": effect.at, "pending": bool(effect.pending)})

    async def log(self, id: RecordId, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """The newest first; nothing is ever taken out."""
        place = decode(cursor, int)
        async with self._database.reading() as connection:
            keys = await queries.subject_keys(connection, (await known_subject(connection, "user", id)).key)
            found = await consents.consent_log(connection, keys, place[0] if place else None, limit + 1)
        return page_of(found, limit, lambda entry: (entry["id"],))

    async def inbound(self, text: TextMessageIn) -> Response:
        """STOP and its like withdraw the channel from everybody with that number; START takes that back. An `id` counts once."""
        heard = await sms_keywords.inbound_text(
            self._database, self._catalogue, text.phone, text.text, source="inbound-text", message=text.id or ""
        )
        if heard.wish is None and text.id:
            await self._answered(text)
        provider_lookup = await self._told(list(heard.effects))
        return json_response({**provider_lookup, "wish": heard.wish, "people": len(heard.effects)})

    async def _answered(self, text: TextMessageIn) -> None:
        """It is for a person to read: an answer to the last text message to that number, if there is one."""
        number = "+" + canonical_address("sms", text.phone)
        async with self._database.reading() as connection:
            about = await provider_lookup.find_by_address(connection, "sms", number)
        if about is not None:
            call = as_event(text.id or "", VendorEvent(REPLIED, data={"text": text.text[:LONGEST]}), about)
            await accept(self._database, self._catalogue, [call], source="inbound-text")

    async def _told(self, effects: list[ConsentChangeResult]) -> dict[str, Any]:
        """What changed, once nothing of it is under way any more or the wait is over."""
        left = await in_flight.wait_out(self._database, self._policy, effects)
        return {
            "withdrawn_messages": sum(effect.withdrawn for effect in effects),
            "ended_runs": sum(effect.ended for effect in effects),
            "in_flight": [asdict(each) for each in left],
        }
