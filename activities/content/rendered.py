"""Rendered message: plain texts and safe addresses, before a channel formats them."""

from __future__ import annotations

from dataclasses import dataclass

from activities.content.front_matter import TemplateKind
from activities.content.markup import Block
from journeys.content.surveys import Survey
from journeys.content.variants import Sender


@dataclass(frozen=True, slots=True)
class ChecklistLine:
    """A line of a checklist, and the signal that ticks it."""

    signal: str
    label: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a message says, in no channel's dress: every text is plain, every address safe to link to.

    Without action label and address are empty. `sender` signs instead of the house; `page` and `anchor` say where in the
    product it appears.
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
