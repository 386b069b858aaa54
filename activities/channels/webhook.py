"""Signed webhook to the company's own system (Standard Webhooks 1.0.0, class A).

The receiver remembers ids, as the standard requires. Retries follow the standard: 5 s, 5 min, 30 min, 2, 5, 10, 14, 20 and 24 h.
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
    """URL of the receiver, and the secret (`whsec_…`) that signs each call."""

    url: str
    secret: str


class WebhookChannel(HttpChannel):
    """One event of type `message` for each message."""

    name = "webhook"
    system = "webhook"
    promise = Promise.KEYED
    retry = Retry(steps=STEPS, within=sum(STEPS, timedelta(hours=1)))
    table = (
        ReplyRow("2xx", ReplyMeaning.ACCEPTED),
        ReplyRow("410", ReplyMeaning.PERMANENT, "", "the receiver wants no more events"),
        ReplyRow("429", ReplyMeaning.TRANSIENT, "", "too fast; Retry-After applies to the whole receiver"),
        ReplyRow("3xx", ReplyMeaning.OURS, "", "the URL has moved; redirects are not followed"),
        ReplyRow("4xx", ReplyMeaning.OURS, "", "tried again on the standard's schedule"),
        ReplyRow("5xx", ReplyMeaning.DOWN, "", "tried again on the standard's schedule"),
    )

    def __init__(self, templates: Templates, http: HttpClient, reach: Reach, settings: WebhookSettings) -> None:
        super().__init__(templates, http, reach)
        self._settings, self._sign = settings, signing(settings.secret)

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:  # noqa: ARG002 — part of the port
        """The receiver's URL."""
        return self._settings.url

    def write(self, message: Rendered, outgoing: Outgoing, key_hash: str) -> PreparedContent:
        """The event: the rendered message, and its data."""
        data = {
            "id": key_hash,
            "template": outgoing.template,
            "topic": message.topic,
            "title": message.subject,
            "text": markup.markup_text(message.blocks).strip(),
            "action": {"label": message.action_label, "url": message.action_url},
            "data": dict(outgoing.data),
        }
        return PreparedContent({"type": "message", "timestamp": datetime.now(UTC).isoformat(), "data": data})

    def opened_by_person(self, outgoing: Outgoing) -> bool:  # noqa: ARG002 — part of the port
        """Never: the receiver is a program."""
        return False

    async def call(self, content: Mapping[str, Any], prepared: Prepared, key_hash: str) -> HttpRequest:  # noqa: ARG002
        """The same bytes at each attempt, signed again with the attempt's timestamp."""
        headers = {"content-type": "application/json", **self._sign(f"msg_{key_hash}", prepared.body)}
        if prepared.trace:
            headers["traceparent"] = traceparent(prepared.trace, key_hash)
        return HttpRequest("POST", prepared.address, headers, prepared.body)
