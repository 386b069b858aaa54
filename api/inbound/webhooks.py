"""Endpoints of providers' webhooks, verified and turned into events.

`202` means committed or irrelevant. A call about an unknown message is accepted and changes nothing: a provider's account may
be shared, and after an error it would call again. Each webhook is off (404) until its secret is configured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response

from api.events.intake import Intake
from api.events.permissions import EventPermissions
from api.events.quotas import QuotaKeeper
from api.http.body import read_bytes
from api.http.forms import FORM_LIMIT
from api.http.pagination import json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.inbound import signatures
from api.inbound.provider_suppressions import suppress_listed
from api.inbound.schemas import WebhookResult
from api.inbound.signatures import WebhookSecrets
from api.inbound.vendors import (
    VendorEvent,
    resend_events,
    resend_suppression,
    twilio_events,
    zendesk_events,
    zoom_events,
)
from api.inbound.webhook_bodies import object_body, twilio_form
from journeys.access.callers import Scope
from journeys.events.inbound import InboundEvent
from journeys.tokens.reply_addresses import ReplyAddresses
from store.consent.sms_keywords import inbound_text
from store.database import Connection
from store.messages import provider_lookup
from store.process_clock import current_instant

log = structlog.get_logger()
LIMIT = 256 * 1024
TAG = "Providers' webhooks"
_FORM = "application/x-www-form-urlencoded"
_EXAMPLES: Mapping[str, tuple[str, Any]] = {
    "resend": ("application/json", {"type": "email.bounced", "data": {"tags": {"tenure_key": "9f86d081884c7d65"}}}),
    "twilio": (_FORM, {"MessageSid": f"SM{1:032x}", "SmsStatus": "received", "From": "+4915112345678", "Body": "STOP"}),
    "zendesk": ("application/json", {"id": "1", "type": "zen:event-type:ticket.created", "detail": {"id": "35436"}}),
    "zoom": ("application/json", {"event": "webinar.ended", "event_ts": 1, "payload": {"object": {"id": "77"}}}),
}


class WebhookRoutes:
    """Routes below `/v1/hooks`."""

    def __init__(
        self,
        intake: Intake,
        permissions: EventPermissions,
        quotas: QuotaKeeper,
        secrets: WebhookSecrets,
        replies: ReplyAddresses | None = None,
    ) -> None:
        self._intake, self._permissions, self._quotas = intake, permissions, quotas
        self._secrets, self._replies = secrets, replies

    def routes(self, routes: Routes) -> None:
        post = partial(
            routes.add,
            "POST",
            scope=Scope.SIGNATURE,
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
                "clock-advancing",
            ),
        )
        post(
            "/v1/hooks/resend",
            self.resend,
            extra=_documented("resend"),
            summary="Resend: mail delivered, bounced, complained about",
        )
        post(
            "/v1/hooks/twilio",
            self.twilio,
            extra=_documented("twilio"),
            summary="Twilio: text delivered, failed, answered",
        )
        post(
            "/v1/hooks/zendesk",
            self.zendesk,
            extra=_documented("zendesk"),
            summary="Zendesk: ticket opened, resolved, reopened",
        )
        post(
            "/v1/hooks/zoom", self.zoom, extra=_documented("zoom"), summary="Zoom: webinar registered, attended, missed"
        )

    async def resend(self, request: Request) -> Response:
        """Signed with Svix headers: `svix-id`, `svix-timestamp`, `svix-signature`.

        `suppression.added` suppresses its address, whoever has it: Resend will send nothing to it.
        """
        body = await self._body(request, self._secrets.resend)
        if not signatures.standard(self._secrets.resend, request.headers, body, "svix"):
            raise _unsigned()
        event = object_body(body)
        if (suppression := resend_suppression(event)) is not None:
            await self._quotas.charge_provider("resend", len(body))
            is_new = await suppress_listed(self._intake, "resend", suppression)
            return json_response({"taken": int(is_new)}, 202)
        return await self._accept("resend", request.headers["svix-id"], resend_events(event), len(body))

    async def twilio(self, request: Request) -> Response:
        """Status callbacks (`?m=` is the message's reference) and inbound texts, signed over the URL and the form.

        The signature has no timestamp, so a replay is recognised by its MessageSid, however late.
        """
        body = await self._body(request, self._secrets.twilio, FORM_LIMIT)
        form = twilio_form(body)
        query = request.url.query
        url = self._secrets.twilio_url + (f"?{query}" if query else "")
        if not signatures.twilio(self._secrets.twilio, url, form, request.headers.get("x-twilio-signature", "")):
            raise _unsigned()
        if not signatures.is_twilio_call(form, self._secrets.twilio_account):
            raise ProblemError("unauthenticated", "The call does not concern a message of the configured account.")
        status = form.get("MessageStatus") or form.get("SmsStatus", "")
        identity = f"{form.get('MessageSid', '')}-{status}"
        vendor_event = twilio_events(form, request.query_params.get("m", ""))
        if vendor_event is not None and vendor_event.signal == "message_replied":
            # STOP applies also to numbers to which no message is known to have gone.
            await inbound_text(
                self._intake.database,
                self._intake.catalogue,
                vendor_event.address,
                vendor_event.data["text"],
                source="hook:twilio",
                message=form.get("MessageSid", ""),
            )
        return await self._accept("twilio", identity, vendor_event, len(body))

    async def zendesk(self, request: Request) -> Response:
        """Ticket events of Zendesk's event subscriptions, signed over timestamp and body."""
        body, headers = await self._body(request, self._secrets.zendesk), request.headers
        at, signature = (
            headers.get("x-zendesk-webhook-signature-timestamp", ""),
            headers.get("x-zendesk-webhook-signature", ""),
        )
        if not signatures.zendesk(self._secrets.zendesk, at, body, signature):
            raise _unsigned()
        event = object_body(body)
        return await self._accept("zendesk", str(event.get("id", ""))[:200], zendesk_events(event), len(body))

    async def zoom(self, request: Request) -> Response:
        """Webinar events, signed `v0`. The first call is a challenge, which is answered."""
        body, headers = await self._body(request, self._secrets.zoom), request.headers
        at, signature = headers.get("x-zm-request-timestamp", ""), headers.get("x-zm-signature", "")
        if not signatures.zoom(self._secrets.zoom, at, body, signature):
            raise _unsigned()
        event = object_body(body)
        if event.get("event") == "endpoint.url_validation":
            payload = event.get("payload")
            plain = str(payload.get("plainToken", "") if isinstance(payload, dict) else "")[:500]
            encrypted = signatures.zoom_challenge(self._secrets.zoom, plain)
            return json_response({"plainToken": plain, "encryptedToken": encrypted})
        identity = f"{event.get('event')}-{event.get('event_ts')}"
        return await self._accept("zoom", identity, zoom_events(event), len(body))

    async def _body(self, request: Request, secret: str, limit: int = LIMIT) -> bytes:
        if not secret:
            raise ProblemError("not-found", "The webhook of this provider is not configured.")
        return await read_bytes(request, limit)

    async def _accept(self, provider: str, identity: str, vendor_event: VendorEvent | None, size: int) -> Response:
        """Commit the event for each message it concerns. A repetition has the same identity and is accepted once."""
        if vendor_event is None or not identity:
            return json_response({"taken": 0}, 202)
        self._intake.admission.refuse_in_backlog()  # before the charge: the provider repeats a refused call
        await self._quotas.charge_provider(provider, size)
        async with self._intake.database.reading() as connection:
            messages = await _messages_of(connection, vendor_event, self._replies)
        with self._intake.admission.admitted(0):
            for event in (as_event(identity, vendor_event, message) for message in messages):
                self._permissions.check_provider(event)
                await self._intake.one(event, source=f"hook:{provider}", clock=None)
        log.info("hook.taken", provider=provider, signal=vendor_event.signal, people=len(messages))
        return json_response({"taken": len(messages)}, 202)


async def _messages_of(
    connection: Connection, vendor_event: VendorEvent, replies: ReplyAddresses | None
) -> Sequence[provider_lookup.ProviderReference]:
    if vendor_event.absent_from:
        return await provider_lookup.webinar_no_shows(connection, vendor_event.absent_from)
    message = None
    for mark in (replies.read(address) for address in vendor_event.sent_to) if replies is not None else ():
        message = message or (await provider_lookup.find_by_reply_mark(connection, *mark) if mark is not None else None)
    if vendor_event.reference:
        message = await provider_lookup.find_by_reference(connection, vendor_event.reference)
    elif vendor_event.address and vendor_event.webinar:
        message = await provider_lookup.find_by_address(
            connection, "webinar", vendor_event.address, "webinar_id", vendor_event.webinar
        )
    elif vendor_event.address:
        message = await provider_lookup.find_by_address(connection, "sms", vendor_event.address)
    return [message] if message is not None else []


def as_event(identity: str, vendor_event: VendorEvent, message: provider_lookup.ProviderReference) -> InboundEvent:
    """The vendor's event as an event of the message's recipient."""
    data: dict[str, Any] = {
        "message": str(message["id"]),
        "channel": message["channel"],
        "template": message["template"],
        **vendor_event.data,
    }
    if vendor_event.signal in {"message_bounced", "message_complained"}:
        data["address"] = message["address"]  # the recipient's address may have changed since
    # Zoom identifies an event by its millisecond, which several people may share.
    key = f"{identity}-{message['id']}" if vendor_event.absent_from or vendor_event.webinar else identity
    at = vendor_event.at or current_instant()
    return InboundEvent(
        "track", key[:255], vendor_event.signal, subject_key=message["recipient"], data=data, timestamp=at
    )


def _documented(provider: str) -> dict[str, Any]:
    media_type, example = _EXAMPLES[provider]
    content = {media_type: {"schema": {"type": "object", "required": [next(iter(example))]}, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def _unsigned() -> ProblemError:
    return ProblemError("unauthenticated", "The signature is invalid or too old.")
