"""Rendering of a digest: each part by its own template, under one introduction (C4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from activities.content import markup
from activities.content.liquid import MAX_OUTPUT
from activities.content.markup import Block
from activities.content.rendered import Rendered
from activities.ports import Outgoing, TemplateFault
from journeys.gate.consolidation import MAX_PARTS

COUNT, TITLES = "count", "titles"
"""Variables of a digest's template: number of messages (int), and their subjects (list of strings)."""


@dataclass(frozen=True, slots=True)
class RenderedDigest:
    """A digest independent of channels, with its messages in order."""

    subject: str
    blocks: tuple[Block, ...]
    items: tuple[tuple[Outgoing, Rendered], ...]
    variant: str
    lang: str

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics of its messages, each once."""
        return tuple(dict.fromkeys(message.topic for _, message in self.items))

    def summary(self) -> dict[str, Any]:
        """For the ledger: key, template and variant of each message."""
        members = [
            {"key": outgoing.key, "template": outgoing.template, "variant": message.variant}
            for outgoing, message in self.items
        ]
        return {"members": members}


def check_digest_size(items: tuple[tuple[Outgoing, Rendered], ...]) -> None:
    """Raises TemplateFault for more messages or text than one mail may hold."""
    if len(items) > MAX_PARTS:
        raise TemplateFault(f"a digest of {len(items)} messages; {MAX_PARTS} at most")
    if sum(len(markup.markup_text(message.blocks)) for _, message in items) > MAX_OUTPUT:
        raise TemplateFault(f"over its limits: a digest of more than {MAX_OUTPUT} characters")
