"""Endpoint of inbound mails: replies and bounce reports."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.events.intake import Intake
from api.http.auth import Scope
from api.http.body import read_bytes
from api.http.pagination import json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from api.inbound.delivery_report import DeliveryReport
from api.inbound.mail_parser import ParsedMail, read_mail
from api.inbound.schemas import WebhookResult
from api.inbound.vendors import VendorEvent
from api.inbound.webhooks import as_event
from journeys.consent.bounces import bounce_properties
from journeys.events.inbound import InboundEvent
from journeys.language.signal_names import MESSAGE_REPLIED
from journeys.tokens.reply_addresses import ReplyAddresses
from store.database import Connection
from store.messages import provider_lookup

TAG = "Conversations"
LIMIT = 2 * 1024 * 1024
_MAIL: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "message/rfc822": {
                "schema": {"type": "string"},
                "example": "From: ada@example.com\r\nIn-Reply-To: <9f86d081@example.com>\r\n\r\nThank you!",
            }
        },
    }
}


class MailRoutes:
    """The routes of answers."""

    def __init__(self, intake: Intake, replies: ReplyAddresses | None) -> None:
        self._intake, self._replies = intake, replies

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG)
        add(
            "POST",
            "/v1/inbound-mails",
            self.inbound,
            summary="A mail that came in",
            gives=WebhookResult,
            status=202,
            extra=_MAIL,
            fast=True,
            refuses=("too-large", "unsupported-media-type", "quota-exceeded", "overloaded"),
        )

    async def inbound(self, request: Request) -> Response:
        """The mail as it came, from whatever receives mail for you: an answer, or a report that one of ours did not arrive (RFC 3464).

        Any other that a program wrote, or that is about none of ours, is taken and moves nothing.
        """
        raw = await read_bytes(request, LIMIT)
        try:
            mail = read_mail(raw)
        except ValueError as error:
            raise ProblemError("malformed-request", f"The body is no mail: {error}.") from error
        async with self._intake.database.reading() as connection:
            if mail.report is not None:
                event = await self._bounced(connection, mail.report)
            else:
                event = await self._answer(connection, mail, raw) if not mail.automatic else None
        if event is None:
            return json_response({"taken": 0}, 202)
        with self._intake.admission.admitted(len(raw)):
            await self._intake.one(event, source="inbound-mail", clock=None)
        return json_response({"taken": 1}, 202)

    async def _bounced(self, connection: Connection, report: DeliveryReport) -> InboundEvent | None:
        """Believed only of a mail of ours, by a Message-ID that nobody was told but its recipient, and of the address it went to.

        So who forges one can silence no address but that of a mail which they have in hand. A mail comes back once: told again by
        another relay, it counts once.
        """
        for each in report.returned:
            about = await provider_lookup.find_by_reference(connection, each)
            if about is None or about["channel"] != "email":
                continue
            for failed in report.failed:
                if failed.is_about(about["address"] or ""):
                    data = bounce_properties(failed.status, hard=failed.hard)
                    identity = f"bounced-{about['id']}-{data['kind']}"
                    return as_event(identity, VendorEvent("message_bounced", data=data), about)
        return None

    async def _answer(self, connection: Connection, mail: ParsedMail, raw: bytes) -> InboundEvent | None:
        about = await self._about(connection, mail)
        if about is None:
            return None
        identity = mail.identity or hashlib.sha256(raw).hexdigest()
        return as_event(identity, VendorEvent(MESSAGE_REPLIED, data={"text": mail.text}), about)

    async def _about(self, connection: Connection, mail: ParsedMail) -> provider_lookup.ProviderReference | None:
        """By our own address, which cannot be made up; else by the Message-ID that the person's program names."""
        for address in mail.to if self._replies is not None else ():
            named = self._replies.read(address) if self._replies is not None else None
            found = await provider_lookup.find_by_reply_mark(connection, *named) if named is not None else None
            if found is not None:
                return found
        for each in mail.answers:
            found = await provider_lookup.find_by_reference(connection, each)
            if found is not None and found["channel"] == "email":
                return found
        return None
