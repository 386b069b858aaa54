"""Signed webhook to the company's own system (Standard Webhooks 1.0.0, class A).

The receiver keeps ids it has seen, as the standard asks of it. The schedule of tries is the standard's: 5 s, 5 min, 30 min,
2, 5, 10, 14, 20 and 24 h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from activities.channels.http.channel import HttpChannel, PreparedContent, Reach
from activities.channels.http.reply_tables import ReplyMeaning, ReplyRow
from activities.content import markup
from activities.content.rendered import Rendered
from activities.content.templates import Templates
from activities.outgoing.client import HttpClient, HttpRequest
from activities.outgoing.standard_webhooks import STEPS, signing
from activities.ports import Outgoing, Prepared, Promise, Retry
from journeys.events.tracing import traceparent


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Where to, and the secret (`whsec_…`) with which each call is signed."""

    url: str
    secret: str


class WebhookChannel(HttpChannel):
    """One message, one event of type `message`."""

    name = "webhook"
    promise = Promise.KEYED
    retry = Retry(steps=STEPS, within=sum(STEPS, timedelta(hours=1)))
    table = (
        ReplyRow("2xx", ReplyMeaning.ACCEPTED),
        ReplyRow("410", ReplyMeaning.PERMANENT, "", "the receiver wants no more"),
        ReplyRow("429", ReplyMeaning.TRANSIENT, "", "slower; Retry-After is kept for the whole receiver"),
        ReplyRow("3xx", ReplyMeaning.OURS, "", "the address has moved; redirects are not followed"),
        ReplyRow("4xx", ReplyMeaning.OURS, "", "tried again by the standard's schedule"),
        ReplyRow("5xx", ReplyMeaning.DOWN, "", "tried again by the standard's schedule"),
    )

    def __init__(self, templates: Templates, way: HttpClient, reach: Reach, settings: WebhookSettings) -> None:
        super().__init__(templates, way, reach)
        self._settings, self._sign = settings, signing(settings.secret)

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:  # noqa: ARG002 -- the port's
        """The one receiver."""
        return self._settings.url

    def write(self, message: Rendered, outgoing: Outgoing, digest: str) -> PreparedContent:
        """The event: what would have been shown, and the data it was made of."""
        data = {
            "id": digest,
            "template": outgoing.template,
            "topic": message.topic,
            "title": message.subject,
            "text": markup.markup_text(message.blocks).strip(),
            "action": {"label": message.action_label, "url": message.action_url},
            "data": dict(outgoing.data),
        }
        return PreparedContent({"type": "message", "timestamp": datetime.now(UTC).isoformat(), "data": data})

    def opened_by_person(self, outgoing: Outgoing) -> bool:  # noqa: ARG002 -- the port's
        """The receiver is a program."""
        return False

    async def call(self, content: Mapping[str, Any], prepared: Prepared, digest: str) -> HttpRequest:  # noqa: ARG002
        """Signed anew for each try, over the same bytes: the timestamp is that of the try."""
        headers = {"content-type": "application/json", **self._sign(f"msg_{digest}", prepared.body)}
        if prepared.trace:
            headers["traceparent"] = traceparent(prepared.trace, digest)
        return HttpRequest("POST", prepared.address, headers, prepared.body)
