"""Endpoints of consent: statements, their log, and inbound texts.

The answer to a withdrawal waits up to 5 s for attempts that had begun before it, and names those that are left then.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

from starlette.responses import Response

from api.consent.preference_view import preference_view
from api.consent.schemas import (
    ConsentIn,
    ConsentLogEntry,
    ConsentRecorded,
    ConsentResultView,
    TextMessageIn,
    TextMessageResult,
)
from api.http.auth import Scope
from api.http.pagination import Cursor, Limit, Page, RecordId, decode, json_response, page_of
from api.http.routes import Routes
from api.inbound.vendors import LONGEST, VendorEvent
from api.inbound.webhooks import as_event
from api.people.endpoints import known_subject
from journeys.consent.changes import ConsentChange
from journeys.gate.policy import Policy
from journeys.language.signal_names import MESSAGE_REPLIED
from journeys.tokens.address_hash import canonical_address
from store.consent import in_flight, records, requests, sms_keywords
from store.consent.consents import ConsentChangeResult
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.events.changes import change_consents
from store.events.ingest import accept
from store.messages import provider_lookup
from store.reads import people as queries

TAG = "Consent"


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
            items = await records.list_consents(connection, found.key)
            waiting = await requests.pending_confirmations(connection, found.key)
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
        effect = await change_consents(
            self._database, self._catalogue, self._policy, found.key, [ConsentChange(**said)]
        )
        return json_response({**await self._told([effect]), "at": effect.at, "pending": bool(effect.pending)})

    async def log(self, id: RecordId, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """The newest first; nothing is ever taken out."""
        place = decode(cursor, int)
        async with self._database.reading() as connection:
            keys = await queries.subject_keys(connection, (await known_subject(connection, "user", id)).key)
            found = await records.read_consent_log(connection, keys, place[0] if place else None, limit + 1)
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
            event = as_event(text.id or "", VendorEvent(MESSAGE_REPLIED, data={"text": text.text[:LONGEST]}), about)
            await accept(self._database, self._catalogue, [event], source="inbound-text")

    async def _told(self, effects: list[ConsentChangeResult]) -> dict[str, Any]:
        """What changed, once nothing of it is under way any more or the wait is over."""
        left = await in_flight.wait_out(self._database, self._policy, effects)
        return {
            "withdrawn_messages": sum(effect.withdrawn for effect in effects),
            "ended_runs": sum(effect.ended for effect in effects),
            "in_flight": [asdict(each) for each in left],
        }
