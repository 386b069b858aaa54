"""Endpoints of consent: statements, their log, and inbound texts.

The response to a withdrawal waits up to 5 s for attempts in flight, and lists those that remain.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Query
from starlette.responses import Response

from api.consent.preference_view import preference_view
from api.consent.schemas import (
    ConsentIn,
    ConsentLogEntry,
    ConsentRecorded,
    ConsentResultView,
    ListedStatement,
    TextMessageIn,
    TextMessageResult,
)
from api.http.auth import RequestKey, forbidden
from api.http.pagination import Cursor, Limit, Page, RecordId, json_response, number_in, page_of
from api.http.routes import Routes
from api.inbound.vendors import LONGEST, VendorEvent
from api.inbound.webhooks import as_event
from api.people.endpoints import known_subject
from journeys.access.callers import ApiKey, CallerKind, Scope
from journeys.access.rules import StatedConsent, refusal_of
from journeys.consent.changes import ConsentChange
from journeys.consent.precedence import StatedBy, StatementEffect
from journeys.events.network_addresses import IP, with_ip_hash
from journeys.events.segment import said_at
from journeys.gate.policy import Policy
from journeys.language.signal_names import MESSAGE_REPLIED
from journeys.tokens.address_hash import canonical_address
from store.consent import in_flight, log_reads, records, requests, sms_keywords
from store.consent.consents import ConsentChangeResult
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.events.changes import change_consents
from store.events.ingest import accept
from store.messages import provider_lookup
from store.people.test_clocks import now_for
from store.reads import people as queries

TAG = "Consent"
ListedEffect = Annotated[Literal["late", "protected", "stale"] | None, Query(description="`late` if it is left out.")]
UnreadableFilter = Annotated[
    bool, Query(description="Opt-outs that were taken in their widest meaning, of every effect.")
]


class ConsentRoutes:
    """Routes of consents and inbound texts."""

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
            scope=Scope.READ,
            summary="A person's consents",
            gives=ConsentResultView,
        )
        add(
            "PUT",
            "/v1/users/{id:id}/consents",
            self.change,
            scope=Scope.SEND,
            summary="Grant or withdraw",
            gives=ConsentRecorded,
            refuses=("not-found", "clock-advancing"),
        )
        add(
            "GET",
            "/v1/users/{id:id}/consents/log",
            self.log,
            scope=Scope.READ,
            summary="Log of a person's consents",
            gives=Page[ConsentLogEntry],
        )
        add(
            "GET",
            "/v1/consents/log",
            self.listed,
            scope=Scope.READ,
            summary="Statements of everybody that changed nothing or could not be read",
            gives=Page[ListedStatement],
            refuses=(),
        )
        add(
            "POST",
            "/v1/inbound-texts",
            self.inbound,
            summary="Receive an inbound text",
            gives=TextMessageResult,
            refuses=("clock-advancing",),
        )

    async def holds(self, id: RecordId) -> Response:
        """Statements, effective consents and pending confirmations. Without a statement the policy's default holds."""
        async with self._database.reading() as connection:
            person = await known_subject(connection, "user", id)
            items = await records.list_in_force(connection, self._catalogue.consent, person.key)
            now = await now_for(connection, person.clock)
            requested = await requests.pending_confirmations(connection, person.key, now)
            view = await preference_view(connection, self._catalogue, person.key, now)
        effective = [
            {"channel": box.place[0], "topic": box.place[1], "allowed": box.allowed, "why": box.why}
            for topic in view.topics
            for box in topic.choices
        ]
        pending = [{name: item[name] for name in ("channel", "topic", "asked_at")} for item in requested]
        for item in items:
            del item["address"]
        return json_response({"items": items, "holds": effective, "pending": pending})

    async def change(self, id: RecordId, consent: ConsentIn, caller: RequestKey) -> Response:
        """Record a statement. With a secret key a grant needs `wording` or `proof`. A withdrawal withdraws queued messages and ends journeys that have no channel left."""
        self._check_permission(caller, consent)
        async with self._database.reading() as connection:
            person = await known_subject(connection, "user", id)
            now = await now_for(connection, person.clock)
        change = self._change_of(caller, consent, now, virtual=person.clock is not None)
        result = await change_consents(self._database, self._catalogue, self._policy, person.key, [change])
        changed = {**await self._changes([result]), "at": result.at, "effect": result.effects[0]}
        return json_response({**changed, "pending": bool(result.pending)})

    def _change_of(self, caller: ApiKey, consent: ConsentIn, now: datetime, *, virtual: bool) -> ConsentChange:
        """The statement as of `now`; without a timestamp it is said when it is recorded."""
        at = consent.timestamp and said_at(consent.timestamp, consent.sent_at, now, virtual=virtual)
        addresses = {IP: consent.ip} if consent.ip is not None else {}
        given = with_ip_hash({**consent.proof, **addresses}, self._catalogue.consent.addresses)
        proof = {**given, "by": caller.acts_for(consent.proof.get("by"))}
        if consent.reason is not None:
            proof["reason"] = consent.reason
        by_operator = caller.kind is CallerKind.OPERATOR and consent.reason is not None
        by = StatedBy.PERSON if consent.by is not None else StatedBy.OPERATOR if by_operator else StatedBy.COMPANY
        return ConsentChange(
            consent.channel,
            consent.topic,
            consent.granted,
            consent.source,
            consent.wording,
            proof,
            confirmed=consent.confirmed,
            by=by,
            at=at,
        )

    def _check_permission(self, caller: ApiKey, consent: ConsentIn) -> None:
        """Raise ProblemError for a statement that the key may not make."""
        waits = bool(consent.granted) and self._catalogue.consent.rules.needs_confirming(consent.channel, consent.topic)
        proven = bool(consent.wording or consent.proof)
        stated = StatedConsent(consent.granted, waits=waits, proven=proven, confirmed=consent.confirmed)
        reason = refusal_of(caller.caller, stated)
        if reason is not None:
            raise forbidden(reason)

    async def log(self, id: RecordId, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """Newest first. No entry is ever deleted."""
        before = number_in(cursor)
        async with self._database.reading() as connection:
            keys = await queries.subject_keys(connection, (await known_subject(connection, "user", id)).key)
            entries = await log_reads.read_consent_log(connection, keys, before, limit + 1)
        return page_of(entries, limit)

    async def listed(
        self,
        effect: ListedEffect = None,
        unreadable: UnreadableFilter = False,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """Newest first: of one `effect`, or those that could not be read."""
        before = number_in(cursor)
        async with self._database.reading() as connection:
            if unreadable:
                entries = await log_reads.unreadable_opt_outs(connection, before, limit + 1)
            else:
                listed = StatementEffect(effect or "late")
                entries = await log_reads.statements_with_effect(connection, listed, before, limit + 1)
        return page_of(entries, limit)

    async def inbound(self, text: TextMessageIn) -> Response:
        """STOP and its synonyms withdraw the channel from everyone with the number; START undoes it. An `id` counts once."""
        result = await sms_keywords.inbound_text(
            self._database, self._catalogue, text.phone, text.text, source="inbound-text", message=text.id or ""
        )
        if result.wish is None and text.id:
            await self._accept_reply(text)
        changes = await self._changes(list(result.effects))
        return json_response({**changes, "wish": result.wish, "people": len(result.effects)})

    async def _accept_reply(self, text: TextMessageIn) -> None:
        """Accept a text without a keyword as a reply to the last message to that number, if there is one."""
        number = "+" + canonical_address("sms", text.phone)
        async with self._database.reading() as connection:
            message = await provider_lookup.find_by_address(connection, "sms", number)
        if message is not None:
            event = as_event(text.id or "", VendorEvent(MESSAGE_REPLIED, data={"text": text.text[:LONGEST]}), message)
            await accept(self._database, self._catalogue, [event], source="inbound-text")

    async def _changes(self, effects: list[ConsentChangeResult]) -> dict[str, Any]:
        """Counts of what the changes withdrew and ended, and the messages still in flight after the wait."""
        remaining = await in_flight.wait_out(self._database, self._policy, effects)
        return {
            "withdrawn_messages": sum(effect.withdrawn for effect in effects),
            "ended_runs": sum(effect.ended for effect in effects),
            "in_flight": [asdict(message) for message in remaining],
        }
