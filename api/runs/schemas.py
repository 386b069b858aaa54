"""Schemas of runs: explanation, operator commands and test clocks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from api.http.pagination import Instant, ShortText
from store.people.test_clocks import ClockStatus

FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""The instants that a test clock may show."""


def _shown(at: datetime) -> datetime:
    if not FIRST <= at <= LAST:
        raise ValueError("a test clock shows instants between 1970 and 2200")
    return at.astimezone(UTC)


ClockInstant = Annotated[Instant, AfterValidator(_shown)]


class ExplanationLine(BaseModel):
    """One sentence of a run's explanation."""

    step: int
    n: int
    at: datetime
    recorded_at: datetime
    kind: str
    about: str
    text: str
    trace: str | None = None


class TestClockView(BaseModel):
    """A test clock: `now` is the instant of its subjects, `target` the instant to which it advances.

    `error` names what blocks a clock that is `stuck`. `progressed_at` is the real instant of its last change.
    """

    id: str
    now: datetime
    target: datetime
    status: ClockStatus
    error: str | None
    progressed_at: datetime


class OperatorRequest(BaseModel):
    """Name of the operator."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"by": "dana"}})

    by: ShortText | None = None


class ResumeRequest(OperatorRequest):
    """How timers treat the time of the pause: they shift by it, catch up in order, or expire."""

    model_config = ConfigDict(json_schema_extra={"example": {"by": "dana", "mode": "shift"}})

    mode: Literal["shift", "catch_up", "expire"] = "shift"


class CancelRequest(OperatorRequest):
    """Name of the operator and the reason; both stay in the timeline."""

    model_config = ConfigDict(json_schema_extra={"example": {"by": "dana", "reason": "opened by mistake"}})

    reason: ShortText


class RunExplanation(BaseModel):
    """What the run waits for and what would end it, as sentences."""

    lines: list[str]


class TestClockIn(BaseModel):
    """The first instant of the clock."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"now": "2026-01-01T00:00:00Z"}})

    now: ClockInstant


class TestClockAdvance(BaseModel):
    """The instant to which the clock advances. It never goes back."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"to": "2026-07-01T00:00:00Z"}})

    to: ClockInstant
