"""Schemas of journeys: published definitions, versions, and the checker's result."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from api.http.problems import FaultView
from store.reads.definitions import COUNTED_ALONE, COUNTED_IN_LISTS

OpenRuns = Annotated[
    int,
    Field(
        ge=0,
        le=COUNTED_ALONE,
        description=f"Open runs. Lists count up to {COUNTED_IN_LISTS:,} of each, a journey that is read alone up to {COUNTED_ALONE:,}: that number means that many or more.",
    ),
]


class JourneyView(BaseModel):
    """A published journey in its current version."""

    key: str
    hash: str
    version: int
    live: bool
    published_at: datetime
    published_by: str
    open_runs: OpenRuns


class VersionView(BaseModel):
    """One version of a journey."""

    version: int
    hash: str
    published_at: datetime
    published_by: str
    current: bool | None
    open_runs: OpenRuns


class PublishedView(BaseModel):
    """The definition is live. The same content published again keeps its version."""

    key: str
    version: int
    hash: str
    created: bool
    warnings: list[str] = []
    """Content past its review date (C11) and tasks without a deadline (C10). They do not prevent publication."""


class CheckResultView(BaseModel):
    """Result of a check: whether the definition can be published, or its problems."""

    publishable: bool
    key: str | None = None
    hash: str | None = None
    problems: list[FaultView] = []
    warnings: list[str] = []
