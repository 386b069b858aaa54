"""Schemas of runs: explanation, operator commands and test clocks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.http.pagination import Instant, ShortText

FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Bounds of a test clock's origin and limit."""


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
    """A test clock; `now` is its current virtual instant."""

    id: str
    origin: datetime
    started_at: datetime
    speed: float
    limit: datetime
    now: datetime


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
    """Begin of virtual time, virtual seconds per real second, and the instant that the clock may not pass yet."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"origin": "2026-01-01T00:00:00Z", "speed": 172800, "limit": "2026-07-01T00:00:00Z"}
        },
    )

    origin: Instant
    speed: float = Field(1.0, ge=1e-3, le=1e8, allow_inf_nan=False)
    limit: Instant

    @model_validator(mode="after")
    def _in_our_time(self) -> TestClockIn:
        if not (FIRST <= self.origin <= LAST and FIRST <= self.limit <= LAST):
            raise ValueError("origin and limit must lie between 1970 and 2200")
        return self
