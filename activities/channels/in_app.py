"""In-app channel (class A): the row in the inbox is the delivery."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from activities.content import markup
from activities.content.rendered import Rendered
from activities.content.templates import Templates
from activities.ports import Ambiguity, Outgoing, Prepared, Promise, Receipt, Retry


class InAppChannel:
    """The in-app inbox, which every person has."""

    name = "in_app"
    inside = True
    promise = Promise.KEYED
    ambiguity = Ambiguity.AT_MOST_ONCE
    local = True
    attempt = timedelta(seconds=1.5)
    retry = Retry()

    def __init__(self, templates: Templates) -> None:
        self._templates = templates

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:  # noqa: ARG002 — part of the port
        """The subject's own key."""
        return subject_key

    def prepare(self, outgoing: Outgoing) -> Prepared:
        """The message as JSON; `body_html` is a fragment with our markup only. Raises TemplateFault."""
        if outgoing.items:
            return self._digest(outgoing)
        message = self._templates.render(outgoing, channel=self.name)
        summary = {
            "subject": message.subject,
            "template": outgoing.template,
            "topic": message.topic,
            "variant": message.variant,
        }
        return _prepared(outgoing, _content(message), summary)

    def _digest(self, outgoing: Outgoing) -> Prepared:
        digest = self._templates.render_digest(outgoing.template, outgoing.items, channel=self.name)
        content = {
            "kind": "digest",
            "title": digest.subject,
            "body_html": markup.markup_html(digest.blocks),
            "body_text": markup.markup_text(digest.blocks),
            "items": [
                {"key": item.key, "template": item.template, **_content(message)} for item, message in digest.items
            ],
        }
        summary = {"subject": digest.subject, "template": outgoing.template, "topics": digest.topics}
        return _prepared(outgoing, content, {**summary, "variant": digest.variant, **digest.summary()})

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:
        """Never called: the gate writes the row in its transaction (`inside`)."""
        raise NotImplementedError("the gate writes inbox rows")

    async def find(self, prepared: Prepared) -> bool | None:  # noqa: ARG002 — part of the port
        """Never called: class A needs no search."""
        return None

    async def close(self) -> None:
        """Holds nothing open."""


def _content(message: Rendered) -> dict[str, Any]:
    """Content for the product's front end, with a checklist's signals and a survey's answers."""
    content: dict[str, Any] = {
        "kind": message.kind,
        "title": message.subject,
        "body_html": markup.markup_html(message.blocks),
        "body_text": markup.markup_text(message.blocks),
        "action": {"label": message.action_label, "url": message.action_url} if message.action_url else None,
    }
    if message.items:
        content["items"] = [{"signal": item.signal, "label": item.label} for item in message.items]
    if message.asks is not None:
        content["asks"] = message.asks.model_dump(mode="json", by_alias=True, exclude_none=True)
    position = {"page": message.page, "anchor": message.anchor}
    return content | {name: value for name, value in position.items() if value is not None}


def _prepared(outgoing: Outgoing, content: Mapping[str, Any], summary: Mapping[str, Any]) -> Prepared:
    return Prepared(outgoing.key, outgoing.address, json.dumps(content, ensure_ascii=False).encode(), summary)
