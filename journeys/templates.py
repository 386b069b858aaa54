"""What the checker knows of a template: its header, not its words. The words are Liquid and are rendered elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

Status = Literal["draft", "live", "retired"]


@dataclass(frozen=True, slots=True)
class TemplateInfo:
    """A template as journeys see it.

    `variables` are the names that a send may give under `data`; those in `required` have no default, so it must.
    `fields` are what its words read of people and accounts (`profile.first_name`), found by analysis of the Liquid.
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
    status: Status = "live"
    review_date: date | None = None
    time_sensitive: bool = False


TemplateInfos = Mapping[str, TemplateInfo]
