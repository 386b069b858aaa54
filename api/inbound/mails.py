"""Endpoint of inbound mails: replies, bounces and complaints."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any, Final

import structlog
from starlette.requests import Request
from starlette.responses import Response

from api.events.intake import Intake
from api.events.quotas import QuotaKeeper
from api.http.body import read_bytes
from api.http.pagination import json_response
from api.http.routes import Routes
from api.inbound.mail_parsing.complaint_report import ABUSE, ComplaintReport
from api.inbound.mail_parsing.delivery_report import DeliveryReport
from api.inbound.mail_parsing.mail_parser import ParsedMail
from api.inbound.mail_parsing.parser_process import MailParserProcess
from api.inbound.schemas import WebhookResult
from api.inbound.vendors import VendorEvent
from api.inbound.webhooks import as_event
from journeys.access.callers import Scope
from journeys.consent.failure_classes import bounce_properties
from journeys.events.inbound import InboundEvent, RejectedEvent
from journeys.language.signal_names import MESSAGE_REPLIED
from journeys.tokens.reply_addresses import ReplyAddresses
from store.database import Connection
from store.messages import provider_lookup

log = structlog.get_logger()
TAG = "Conversations"
LIMIT = 2 * 1024 * 1024
SOURCE: Final = "inbound-mail"
_KEPT: Final = 20_000
"""Characters of a mail that are kept for a person."""
_UNREADABLE: Final = "the mail cannot be parsed: read it, answer it by hand, then discard it here"
_NOT_UNDERSTOOD: Final = (
    "a bounce, but no rule reads which mail or address failed: suppress the address by hand, then discard it here"
)
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
    """Routes of inbound mails."""

    def __init__(self, intake: Intake, quotas: QuotaKeeper, replies: ReplyAddresses | None) -> None:
        self._intake, self._quotas, self._replies = intake, quotas, replies
        self._parser = MailParserProcess()

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.OPERATE, tag=TAG)
        add(
            "POST",
            "/v1/inbound-mails",
            self.inbound,
            summary="Receive an inbound mail",
            gives=WebhookResult,
            status=202,
            extra=_MAIL,
            fast=True,
            refuses=("too-large", "unsupported-media-type", "quota-exceeded", "overloaded", "clock-advancing"),
        )

    async def inbound(self, request: Request) -> Response:
        """A raw mail from your mail server: a reply, a bounce (RFC 3464 and older forms), or a complaint (RFC 5965).

        Other automatic mails, and mails about no message of Tenure, are accepted and change nothing. A mail that cannot be read,
        and a bounce that no rule understands, are kept in quarantine for a person: your server would only send them again.
        """
        self._intake.admission.refuse_in_backlog()  # before the charge: the mail server repeats a refused mail
        raw = await read_bytes(request, LIMIT)
        await self._quotas.charge_provider(SOURCE, len(raw))
        with self._intake.admission.admitted(len(raw)):
            mail = await self._parser.parse(raw)
            if mail is None:
                return await self._hold(raw, _UNREADABLE)
            if mail.unread or (mail.report is not None and mail.report.failed and not mail.report.returned):
                return await self._hold(raw, _NOT_UNDERSTOOD)
            return await self._take(mail, raw)

    def close(self) -> None:
        """End the parser's process."""
        self._parser.close()

    async def _hold(self, raw: bytes, fault: str) -> Response:
        await self._intake.one(_for_a_person(raw, fault), source=SOURCE, clock=None)
        return json_response({"taken": 0, "held": 1}, 202)

    async def _take(self, mail: ParsedMail, raw: bytes) -> Response:
        async with self._intake.database.reading() as connection:
            event = await self._event(connection, mail, raw)
        if event is None:
            return json_response({"taken": 0}, 202)
        await self._intake.one(event, source=SOURCE, clock=None)
        return json_response({"taken": 1}, 202)

    async def _event(self, connection: Connection, mail: ParsedMail, raw: bytes) -> InboundEvent | None:
        if mail.complaint is not None:
            return await self._complained(connection, mail.complaint)
        if mail.report is not None:
            return await self._bounced(connection, mail.report)
        return await self._answer(connection, mail, raw) if not mail.automatic else None

    async def _complained(self, connection: Connection, complaint: ComplaintReport) -> InboundEvent | None:
        """The complaint about a message, which only its recipient can name. Other feedback (`not-spam`, `auth-failure`) is none."""
        if complaint.kind != ABUSE:
            log.info("mail.feedback", kind=complaint.kind[:40])
            return None
        for message_id in complaint.returned:
            message = await provider_lookup.find_by_reference(connection, message_id)
            if message is not None and message["channel"] == "email":
                return as_event(f"complained-{message['id']}", VendorEvent("message_complained"), message)
        return None

    async def _bounced(self, connection: Connection, report: DeliveryReport) -> InboundEvent | None:
        """The bounce of the reported message. A second report about it is a duplicate.

        The report must name the Message-ID, which only the recipient has, and the address that the message went to: a forger can
        suppress only the address of a mail that they hold.
        """
        for message_id in report.returned:
            message = await provider_lookup.find_by_reference(connection, message_id)
            if message is None or message["channel"] != "email":
                continue
            for failed in report.failed:
                if failed.is_about(message["address"] or ""):
                    data = bounce_properties(failed.status, failed.failure)
                    identity = f"bounced-{message['id']}-{data['kind']}"
                    return as_event(identity, VendorEvent("message_bounced", data=data), message)
        return None

    async def _answer(self, connection: Connection, mail: ParsedMail, raw: bytes) -> InboundEvent | None:
        message = await self._answered_message(connection, mail)
        if message is None:
            return None
        identity = mail.identity or hashlib.sha256(raw).hexdigest()
        return as_event(identity, VendorEvent(MESSAGE_REPLIED, data={"text": mail.text}), message)

    async def _answered_message(
        self, connection: Connection, mail: ParsedMail
    ) -> provider_lookup.ProviderReference | None:
        """The message that a mail answers: by its signed reply address, otherwise by a Message-ID it refers to."""
        for address in mail.to if self._replies is not None else ():
            mark = self._replies.read(address) if self._replies is not None else None
            message = await provider_lookup.find_by_reply_mark(connection, *mark) if mark is not None else None
            if message is not None:
                return message
        for message_id in mail.answers:
            message = await provider_lookup.find_by_reference(connection, message_id)
            if message is not None and message["channel"] == "email":
                return message
        return None


def _for_a_person(raw: bytes, fault: str) -> RejectedEvent:
    """The mail for the quarantine, where a person reads it. The same mail is kept once."""
    text = raw[:_KEPT].decode("utf-8", "replace").replace("\x00", "\ufffd")
    return RejectedEvent(hashlib.sha256(raw).hexdigest()[:40], SOURCE, (fault,), {"mail": text, "bytes": len(raw)})
