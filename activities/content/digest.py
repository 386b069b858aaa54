"""Rendering of a digest: each part by its own template, under one introduction (C4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from activities.content import markup
from activities.content.liquid import LARGEST
from activities.content.markup import Block
from activities.content.rendered import Rendered
from activities.ports import Outgoing, TemplateFault
from journeys.gate.consolidation import MAX_PARTS

COUNT, TITLES = "count", "titles"
"""What a digest's template may read: how many messages it holds (int), and their subjects (strings)."""


@dataclass(frozen=True, slots=True)
class RenderedDigest:
    """A digest in no channel's dress."""

    subject: str
    blocks: tuple[Block, ...]
    items: tuple[tuple[Outgoing, Rendered], ...]
    variant: str
    lang: str

    @property
    def topics(self) -> tuple[str, ...]:
        """Of its members, each once."""
        return tuple(dict.fromkeys(each.topic for _, each in self.items))

    def told(self) -> dict[str, Any]:
        """What the ledger's summary keeps: of each member its key, template and variant."""
        members = [{"key": one.key, "template": one.template, "variant": each.variant} for one, each in self.items]
        return {"members": members}


def bounded(items: tuple[tuple[Outgoing, Rendered], ...]) -> None:
    """Raises TemplateFault for more than a mail can hold: each member is bounded, and so is their sum."""
    if len(items) > MAX_PARTS:
        raise TemplateFault(f"a digest of {len(items)} messages: {MAX_PARTS} at most")
    if sum(len(markup.markup_text(each.blocks)) for _, each in items) > LARGEST:
        raise TemplateFault(f"over its limits: a digest yields more than {LARGEST} characters")
