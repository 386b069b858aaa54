"""E-mail by Resend's HTTP API (class A).

Source: Resend's API reference, `POST /emails`. An `Idempotency-Key` of up to 256 characters is valid for 24 hours, so retries end
after 23. Resend signs with DKIM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from activities.channels.email.headers import identity_headers, reply_to_addresses, trace_headers, unsubscribe_url
from activities.channels.email.layout import html_part, text_part
from activities.channels.email.message import mail_address, named_address
from activities.channels.http.channel import HttpChannel, PreparedContent, Reach, as_body, bearer, json_call
from activities.channels.http.reply_tables import KEYED_TAIL, ReplyMeaning, ReplyRow
from activities.channels.message_hash import message_hash
from activities.content.rendered import Rendered
from activities.content.templates import Templates
from activities.outgoing.client import HttpClient, HttpRequest
from activities.ports import Outgoing, Prepared, Promise, Retry, TemplateFault
from journeys.tokens.reply_addresses import ReplyAddresses
from journeys.tokens.signed_links import Links


@dataclass(frozen=True, slots=True)
class ResendSettings:
    """`base` is the API's URL; `sender`, `links`, `postal` and `replies` are as for SMTP."""

    key: str
    sender: tuple[str, str]
    base: str = "https://api.resend.com"
    links: Links | None = None
    postal: str = ""
    replies: ReplyAddresses | None = None


class ResendChannel(HttpChannel):
    """Mails by Resend: nothing is lost or duplicated while Resend remembers the key."""

    name = "email"
    system = "resend"
    promise = Promise.KEYED
    retry = Retry(within=timedelta(hours=23))
    table = (
        ReplyRow(
            "409",
            ReplyMeaning.PERMANENT,
            "invalid_idempotent_request",
            "the same key with other content: our bug",
        ),
        ReplyRow(
            "409", ReplyMeaning.TRANSIENT, "concurrent_idempotent_requests", "the first attempt is still in flight"
        ),
        ReplyRow("429", ReplyMeaning.OURS, "daily_quota_exceeded", "the account's quota is used up until tomorrow"),
        ReplyRow("429", ReplyMeaning.OURS, "monthly_quota_exceeded", "the account's quota is used up until next month"),
        *KEYED_TAIL,
    )

    def __init__(self, templates: Templates, http: HttpClient, reach: Reach, settings: ResendSettings) -> None:
        super().__init__(templates, http, reach)
        self._settings = settings

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:  # noqa: ARG002 — part of the port
        """The person's `email`, if it is valid."""
        return mail_address(profile.get("email"))

    def write(self, message: Rendered, outgoing: Outgoing, key_hash: str) -> PreparedContent:
        """The mail. The key's hash is a tag, which every webhook returns."""
        unsubscribe = unsubscribe_url(self._settings.links, outgoing, key_hash, datetime.now(UTC))
        tags = [{"name": "tenure_key", "value": key_hash}]
        return PreparedContent({**self._mail(message, outgoing, key_hash, unsubscribe), "tags": tags})

    def prepare_test(self, outgoing: Outgoing, message: Rendered) -> Prepared:
        """A test send, marked in subject and header; its webhooks match no message."""
        key_hash = message_hash(outgoing.key)
        marked = replace(message, subject=f"[Test] {message.subject}")
        mail = self._mail(marked, outgoing, key_hash, "")
        content = {**mail, "headers": {**mail["headers"], "X-Tenure-Test": "1"}}
        summary = {"subject": marked.subject, "template": outgoing.template, "variant": message.variant}
        return Prepared(key_hash, outgoing.address, as_body(content), summary)

    def _mail(self, message: Rendered, outgoing: Outgoing, key_hash: str, unsubscribe: str) -> dict[str, Any]:
        """Body of `POST /emails`. Raises TemplateFault for an invalid address."""
        if mail_address(outgoing.address) != outgoing.address:
            raise TemplateFault("the address is not a valid mail address")
        postal = self._settings.postal
        company, address = self._settings.sender
        signer = message.sender
        name = signer.name if signer is not None and signer.name.isprintable() else company
        manager = mail_address(signer.reply_to) if signer is not None else None
        reply_to = reply_to_addresses(self._settings.replies, outgoing, key_hash, manager)
        return {
            "from": named_address(name, address).replace("\r\n ", " "),
            **({"reply_to": list(reply_to)} if reply_to else {}),
            "to": [outgoing.address],
            "subject": message.subject,
            "html": html_part(message, sender=postal, unsubscribe_url=unsubscribe),
            "text": text_part(message, sender=postal, unsubscribe_url=unsubscribe),
            "headers": dict((*identity_headers(key_hash, unsubscribe), *trace_headers(outgoing))),
        }

    async def call(self, content: Mapping[str, Any], prepared: Prepared, key_hash: str) -> HttpRequest:  # noqa: ARG002
        """`POST /emails` with an idempotency key."""
        headers = {**bearer(self._settings.key), "idempotency-key": key_hash}
        return json_call("POST", f"{self._settings.base}/emails", content, headers)
