"""Schemas of events, signals, plays and quarantine."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.http.pagination import Instant, ShortText
from api.http.problems import FaultView
from api.http.schemas import InFlightView


class MalformedElement(BaseModel):
    """An element of a batch that is kept in quarantine, and why."""

    index: int
    messageId: str  # noqa: N815 -- the Segment spec's name
    errors: list[FaultView]


class BatchResult(BaseModel):
    """What became of a batch: each element is accepted, was there before, or is kept in quarantine."""

    success: bool = True
    accepted: int
    duplicates: int
    quarantined: int
    in_flight: list[InFlightView] = []
    errors: list[MalformedElement] = []


class EventResult(BaseModel):
    """A single call is committed. `quarantined` says why it is kept but moves nothing.

    `in_flight` names messages that a withdrawal of consent came too late for.
    """

    success: bool = True
    quarantined: list[str] = []
    in_flight: list[InFlightView] = []


class QuarantinedEvent(BaseModel):
    """An event in quarantine, as it came, with what is wrong with it."""

    id: int
    source: str
    message_id: str
    name: str
    faults: list[str]
    event: dict[str, Any]
    received_at: datetime
    status: Literal["held", "replayed", "discarded"]
    settled_at: datetime | None


class DeadLetterView(BaseModel):
    """What reached a run and could not be read there."""

    id: int
    run: str
    step: int
    name: str
    reason: str
    payload: str
    recorded_at: datetime
    status: str


class ReplayResult(BaseModel):
    """How many went in, and how many still fail and stay where they are."""

    replayed: int
    still_held: int


class QuarantinedName(BaseModel):
    """How many events are held under one name."""

    name: str
    held: int
    first_at: datetime
    last_at: datetime


class QuarantinedNames(BaseModel):
    """What to mend first."""

    items: list[QuarantinedName]


class SignalIn(BaseModel):
    """One signal. `id` makes it idempotent: sent again, it is accepted once."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"id": "s-1", "name": "setup_completed", "data": {"steps": 5}, "at": "2026-05-03T10:00:00Z"}
        },
    )

    id: ShortText | None = None
    name: ShortText
    data: dict[str, Any] = Field(default_factory=dict)
    at: Instant | None = None


class SignalResult(BaseModel):
    """Committed. `quarantined` says why it is kept but moves nothing.

    `in_flight` names messages that a withdrawal of consent came too late for.
    """

    id: str
    trace: str | None = None
    quarantined: list[str] = []
    in_flight: list[InFlightView] = []


class PlayIn(BaseModel):
    """Which journey, by whom and why. `data` is what its entry's signal would carry, the field of its case above all."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"journey": "renewal-readiness", "by": "dana", "why": "they asked for terms early", "data": {}}
        },
    )

    journey: ShortText
    by: ShortText
    why: ShortText
    data: dict[str, Any] = Field(default_factory=dict, max_length=100)
