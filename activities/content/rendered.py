"""Rendered message: plain texts and safe addresses, before a channel formats them."""

from __future__ import annotations

from dataclasses import dataclass

from activities.content.front_matter import TemplateKind
from activities.content.markup import Block
from journeys.content.surveys import Survey
from journeys.content.variants import Sender


@dataclass(frozen=True, slots=True)
class ChecklistLine:
    """A line of a checklist, and the signal that completes it."""

    signal: str
    label: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """A message independent of channels: every text is plain, every URL safe to link to.

    `action_label` and `action_url` are empty without an action. `sender` replaces the company as the sender's name. `page` and
    `anchor` say where in the product an in-app message appears.
    """

    subject: str
    blocks: tuple[Block, ...]
    action_label: str
    action_url: str
    topic: str
    variant: str = "base"
    kind: TemplateKind = "message"
    page: str | None = None
    anchor: str | None = None
    items: tuple[ChecklistLine, ...] = ()
    asks: Survey | None = None
    sender: Sender | None = None
    lang: str = "en"
