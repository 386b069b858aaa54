"""What the checker knows of a template: its header, not its words. The words are Liquid and are rendered elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

TemplateStatus = Literal["draft", "live", "retired"]


@dataclass(frozen=True, slots=True)
class TemplateInfo:
    """A template as journeys see it.

    `variables` are the names that a send may give under `data`; those in `required` have no default, so it must.
    `fields` are what its words read of people and accounts (`profile.first_name`), found by analysis of the Liquid.
    `types` are those of the variables; `awaits` the signals that tick a checklist's items, or tell a survey's answer.
    """

    name: str
    variables: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()
    topic: str | None = None
    channels: tuple[str, ...] = ("email",)
    stage: str | None = None
    role: str | None = None
    owner: str = ""
    status: TemplateStatus = "live"
    review_date: date | None = None
    types: Mapping[str, str] = field(default_factory=dict, hash=False)
    awaits: tuple[str, ...] = ()
    kind: str = "message"
    time_sensitive: bool = False


TemplateInfos = Mapping[str, TemplateInfo]

MissingFields = Callable[[Mapping[str, Any], Mapping[str, Any], str], tuple[str, ...]]
"""Which fields a template cannot do without (H8), and nobody has told: by profile, account and channel."""
