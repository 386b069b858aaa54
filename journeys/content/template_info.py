"""TemplateInfo: the facts of a template that journeys and the checker read.

A template's text is Liquid and is rendered in `activities/content`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

TemplateStatus = Literal["draft", "live", "retired"]


@dataclass(frozen=True, slots=True)
class TemplateInfo:
    """A template's front matter, and what static analysis finds in its Liquid.

    `variables` are the names that a send may give under `data`, with their `types`; those in `required` have no default.
    `fields` are the fields of people and accounts that its text reads (`profile.first_name`). `awaits` are the signals
    that check off a checklist's items, or the answer of a survey. `stage` and `role` are those of the people it guides.
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
"""The unknown fields that a template cannot be rendered without (H8), by profile, account and channel."""
