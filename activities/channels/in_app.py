"""The in-app inbox: delivering a message is writing its row, keyed by our key, so it is never lost and never double."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from activities import markup
from activities.ports import Ambiguity, Outgoing, Prepared, Promise, Receipt, Retry
from activities.templates import Templates


class InAppChannel:
    """Class A: the store takes our key."""

    name = "in_app"
    inside = True
    promise = Promise.KEYED
    ambiguity = Ambiguity.AT_MOST_ONCE
    local = True
    attempt = timedelta(seconds=1.5)
    retry = Retry()

    def __init__(self, templates: Templates) -> None:
        self._templates = templates

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:  # noqa: ARG002 -- the port's
        """Everyone has an inbox."""
        return subject_key

    def prepare(self, outgoing: Outgoing) -> Prepared:
        """The message as JSON: `body_html` is a fragment that holds no markup but ours. Raises TemplateFault."""
        message = self._templates.render(outgoing)
        content = {
            "kind": "message",
            "title": message.subject,
            "body_html": markup.html(message.blocks),
            "body_text": markup.text(message.blocks),
            "action": {"label": message.action_label, "url": message.action_url},
        }
        summary = {"subject": message.subject, "template": outgoing.template, "topic": message.topic}
        return Prepared(outgoing.key, outgoing.address, json.dumps(content, ensure_ascii=False).encode(), summary)

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:
        """Never asked: the gate writes the row itself (`inside`), in its own transaction."""
        raise NotImplementedError("an inbox row is written by the gate")

    async def find(self, prepared: Prepared) -> bool | None:  # noqa: ARG002 -- the port's
        """Never asked: what takes our key needs no search."""
        return None

    async def close(self) -> None:
        """Holds nothing open."""
