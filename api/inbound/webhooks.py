"""Endpoints of providers' webhooks, verified and turned into events.

`202` means committed, or of no concern to us. A call about a message that is not ours is taken and moves nothing: a provider's
account may be shared, and it would only call again. Each is off (404) until its secret is configured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import structlog
from starlette.requests import Request
from starlette.responses import Response

from api.events.intake import Intake
from api.http.auth import Scope
from api.http.body import parse_json, read_bytes
from api.http.pagination import json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.inbound import signatures
from api.inbound.schemas import WebhookResult
from api.inbound.signatures import WebhookSecrets
from api.inbound.vendors import VendorEvent, resend_events, twilio_events, zendesk_events, zoom_events
from journeys.events.inbound import InboundEvent
from journeys.tokens.reply_addresses import ReplyAddresses
from store.consent.sms_keywords import inbound_text
from store.database import Connection
from store.messages import provider_lookup

log = structlog.get_logger()
LIMIT = 256 * 1024
TAG = "Providers' webhooks"


_FORM = "application/x-www-form-urlencoded"
_EXAMPLES: Mapping[str, tuple[str, Any]] = {
    "resend": ("application/json", {"type": "email.bounced", "data": {"tags": {"tenure_key": "9f86d081884c7d65"}}}),
    "twilio": (_FORM, {"MessageSid": "SM1", "SmsStatus": "received", "From": "+4915112345678", "Body": "STOP"}),
    "zendesk": ("application/json", {"id": "1", "type": "zen:event-type:ticket.created", "detail": {"id": "35436"}}),
    "zoom": ("application/json", {"event": "webinar.ended", "event_ts": 1, "payload": {"object": {"id": "77"}}}),
}


class WebhookRoutes:
    """The routes below `/v1/hooks`."""

    def __init__(self, intake: Intake, secrets: WebhookSecrets, replies: ReplyAddresses | None = None) -> None:
        self._intake, self._secrets, self._replies = intake, secrets, replies

    def routes(self, routes: Routes) -> None:
        post = partial(
            routes.add,
            "POST",
            scope=Scope.PUBLIC,
            tag=TAG,
            status=202,
            gives=WebhookResult,
            fast=True,
            refuses=(
                "unauthenticated",
                "not-found",
                "too-large",
                "unsupported-media-type",
                "quota-exceeded",
                "overloaded",
            ),
        )
        post(
            "/v1/hooks/resend",
            self.resend,
            extra=_documented("resend"),
            summary="Mails: delivered, bounced, complained about",
        )
        post(
            "/v1/hooks/twilio",
            self.twilio,
            extra=_documented("twilio"),
            summary="Short messages: delivered, failed, answered",
        )
        post(
            "/v1/hooks/zendesk",
            self.zendesk,
            extra=_documented("zendesk"),
            summary="Tickets: opened, resolved, reopened",
        )
        post("/v1/hooks/zoom", self.zoom, extra=_documented("zoom"), summary="Webinars: registered, attended, missed")

    async def resend(self, request: Request) -> Response:
        """Signed as by Svix: `svix-id`, `svix-timestamp`, `svix-signature`."""
        body = await self._body(request, self._secrets.resend)
        if not signatures.standard(self._secrets.resend, request.headers, body, "svix"):
            raise _unsigned()
        return await self._take("resend", request.headers["svix-id"], resend_events(_object(body)))

    async def twilio(self, request: Request) -> Response:
        """Signed over the address and the form: status callbacks (`?m=` is our reference) and inbound messages.

        The signature has no time, so what is called again is known by its MessageSid, for ever.
        """
        body = await self._body(request, self._secrets.twilio)
        form = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=200))
        query = request.url.query
        url = self._secrets.twilio_url + (f"?{query}" if query else "")
        if not signatures.twilio(self._secrets.twilio, url, form, request.headers.get("x-twilio-signature", "")):
            raise _unsigned()
        status = form.get("MessageStatus") or form.get("SmsStatus", "")
        identity = f"{form.get('MessageSid', '')}-{status}"
        says = twilio_events(form, request.query_params.get("m", ""))
        if says is not None and says.signal == "message_replied":
            # STOP holds also for a number that no message of ours is known to have gone to.
            given = {"source": "hook:twilio", "message": form.get("MessageSid", "")}
            await inbound_text(self._intake.database, self._intake.catalogue, says.address, says.data["text"], **given)
        return await self._take("twilio", identity, says)

    async def zendesk(self, request: Request) -> Response:
        """Signed over timestamp and body; events of tickets as Zendesk's event subscriptions have them."""
        body, headers = await self._body(request, self._secrets.zendesk), request.headers
        at, given = (
            headers.get("x-zendesk-webhook-signature-timestamp", ""),
            headers.get("x-zendesk-webhook-signature", ""),
        )
        if not signatures.zendesk(self._secrets.zendesk, at, body, given):
            raise _unsigned()
        event = _object(body)
        return await self._take("zendesk", str(event.get("id", ""))[:200], zendesk_events(event))

    async def zoom(self, request: Request) -> Response:
        """Signed `v0`; the first call is a challenge, which is answered."""
        body, headers = await self._body(request, self._secrets.zoom), request.headers
        at, given = headers.get("x-zm-request-timestamp", ""), headers.get("x-zm-signature", "")
        if not signatures.zoom(self._secrets.zoom, at, body, given):
            raise _unsigned()
        event = _object(body)
        if event.get("event") == "endpoint.url_validation":
            plain = str((event.get("payload") or {}).get("plainToken", ""))[:500]
            encrypted = signatures.zoom_challenge(self._secrets.zoom, plain)
            return json_response({"plainToken": plain, "encryptedToken": encrypted})
        identity = f"{event.get('event')}-{event.get('event_ts')}"
        return await self._take("zoom", identity, zoom_events(event))

    async def _body(self, request: Request, secret: str) -> bytes:
        if not secret:
            raise ProblemError("not-found", "This provider is not configured here.")
        return await read_bytes(request, LIMIT)

    async def _take(self, provider: str, identity: str, says: VendorEvent | None) -> Response:
        """Commit what was said, of whom it is about; a repetition is accepted once, by its identity."""
        if says is None or not identity:
            return json_response({"taken": 0}, 202)
        async with self._intake.database.reading() as connection:
            about = await _whom(connection, says, self._replies)
        events = [as_event(identity, says, message) for message in about]
        with self._intake.admission.admitted(0):
            for event in events:
                await self._intake.one(event, source=f"hook:{provider}", clock=None)
        log.info("hook.taken", provider=provider, signal=says.signal, people=len(events))
        return json_response({"taken": len(events)}, 202)


async def _whom(
    connection: Connection, says: VendorEvent, replies: ReplyAddresses | None
) -> Sequence[provider_lookup.ProviderReference]:
    if says.absent_from:
        return await provider_lookup.webinar_no_shows(connection, says.absent_from)
    found = None
    for named in (replies.read(each) for each in says.sent_to) if replies is not None else ():
        found = found or (await provider_lookup.find_by_reply_mark(connection, *named) if named is not None else None)
    if says.reference:
        found = await provider_lookup.find_by_reference(connection, says.reference)
    elif says.address and says.webinar:
        found = await provider_lookup.find_by_address(connection, "webinar", says.address, "webinar_id", says.webinar)
    elif says.address:
        found = await provider_lookup.find_by_address(connection, "sms", says.address)
    return [found] if found is not None else []


def as_event(identity: str, says: VendorEvent, message: provider_lookup.ProviderReference) -> InboundEvent:
    """What was said, as the event of whom the message was for."""
    data: dict[str, Any] = {
        "message": str(message["id"]),
        "channel": message["channel"],
        "template": message["template"],
        **says.data,
    }
    if says.signal in {"message_bounced", "message_complained"}:
        data["address"] = message["address"]  # it may not be theirs any more when this is told
    # Zoom names an event by its millisecond, in which several people may come.
    key = f"{identity}-{message['id']}" if says.absent_from or says.webinar else identity
    at = says.at or datetime.now(UTC)
    return InboundEvent("track", key[:255], says.signal, subject_key=message["recipient"], data=data, timestamp=at)


def _documented(provider: str) -> dict[str, Any]:
    kind, example = _EXAMPLES[provider]
    content = {kind: {"schema": {"type": "object", "required": [next(iter(example))]}, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def _object(body: bytes) -> Mapping[str, Any]:
    found = parse_json(body)
    if not isinstance(found.value, dict) or found.strange:
        raise ProblemError("malformed-request", "The body is no JSON object that can be stored.")
    return found.value


def _unsigned() -> ProblemError:
    return ProblemError("unauthenticated", "The signature is not right, or too old.")
