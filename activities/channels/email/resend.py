"""E-mail by an HTTP provider that takes our key (Resend's shape): class A.

Source: Resend's API reference, `POST /emails`. An `Idempotency-Key` of up to 256 characters is kept for 24 hours, so tries end
after 23. DKIM is the provider's.
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
    """`base` is the API's address; `sender`, `links`, `postal` and `replies` are as for SMTP."""

    key: str
    sender: tuple[str, str]
    base: str = "https://api.resend.com"
    links: Links | None = None
    postal: str = ""
    replies: ReplyAddresses | None = None


class ResendChannel(HttpChannel):
    """Mails over HTTP: nothing lost, nothing doubled, as long as the provider knows our key."""

    name = "email"
    promise = Promise.KEYED
    retry = Retry(within=timedelta(hours=23))
    table = (
        ReplyRow(
            "409",
            ReplyMeaning.PERMANENT,
            "invalid_idempotent_request",
            "the same key with other bytes: a fault of ours",
        ),
        ReplyRow(
            "409", ReplyMeaning.TRANSIENT, "concurrent_idempotent_requests", "the first attempt is still in flight"
        ),
        ReplyRow("429", ReplyMeaning.DOWN, "daily_quota_exceeded", "nobody is served until tomorrow"),
        ReplyRow("429", ReplyMeaning.DOWN, "monthly_quota_exceeded", "nobody is served until next month"),
        *KEYED_TAIL,
    )

    def __init__(self, templates: Templates, way: HttpClient, reach: Reach, settings: ResendSettings) -> None:
        super().__init__(templates, way, reach)
        self._settings = settings

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:  # noqa: ARG002 -- the port's
        """The person's `email`, if it is one."""
        return mail_address(profile.get("email"))

    def write(self, message: Rendered, outgoing: Outgoing, digest: str) -> PreparedContent:
        """The mail's parts; our digest goes along as a tag, which comes back in every webhook."""
        unsubscribe = unsubscribe_url(self._settings.links, outgoing, digest, datetime.now(UTC))
        tags = [{"name": "tenure_key", "value": digest}]
        return PreparedContent({**self._mail(message, outgoing, digest, unsubscribe), "tags": tags})

    def prepare_test(self, outgoing: Outgoing, message: Rendered) -> Prepared:
        """A mail to try a message out, marked as such in its subject and a header; nothing that comes of it is heard of."""
        digest = message_hash(outgoing.key)
        marked = replace(message, subject=f"[Test] {message.subject}")
        mail = self._mail(marked, outgoing, digest, "")
        content = {**mail, "headers": {**mail["headers"], "X-Tenure-Test": "1"}}
        summary = {"subject": marked.subject, "template": outgoing.template, "variant": message.variant}
        return Prepared(digest, outgoing.address, as_body(content), summary)

    def _mail(self, message: Rendered, outgoing: Outgoing, digest: str, unsubscribe: str) -> dict[str, Any]:
        """As `POST /emails` takes it."""
        if mail_address(outgoing.address) != outgoing.address:
            raise TemplateFault("the address is not one that can be sent to")
        postal = self._settings.postal
        deps, address = self._settings.sender
        signs = message.sender
        name = signs.name if signs is not None and signs.name.isprintable() else deps
        manager = mail_address(signs.reply_to) if signs is not None else None
        reply_to = reply_to_addresses(self._settings.replies, outgoing, digest, manager)
        return {
            "from": named_address(name, address).replace("\r\n ", " "),
            **({"reply_to": list(reply_to)} if reply_to else {}),
            "to": [outgoing.address],
            "subject": message.subject,
            "html": html_part(message, sender=postal, unsubscribe_url=unsubscribe),
            "text": text_part(message, sender=postal, unsubscribe_url=unsubscribe),
            "headers": dict((*identity_headers(digest, unsubscribe), *trace_headers(outgoing))),
        }

    async def call(self, content: Mapping[str, Any], prepared: Prepared, digest: str) -> HttpRequest:  # noqa: ARG002
        """`POST /emails`, with our key."""
        headers = {**bearer(self._settings.key), "idempotency-key": digest}
        return json_call("POST", f"{self._settings.base}/emails", content, headers)
