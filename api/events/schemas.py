"""Schemas of events, signals, plays and quarantine."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from api.http.pagination import Instant, ShortText
from api.http.problems import FaultView
from api.http.schemas import InFlightView

SignalData = Annotated[
    dict[str, Any],
    BeforeValidator(
        lambda data: {} if data == [] else data,
        json_schema_input_type=dict[str, Any] | Annotated[list[Any], Field(max_length=0)],
    ),
]
"""The data of a signal; `[]` is empty, as PHP's encoder writes a map without entries."""


class MalformedElement(BaseModel):
    """An element of a batch that is in quarantine, or a trait of it, with its faults."""

    index: int
    messageId: str  # noqa: N815 -- the Segment spec's name
    errors: list[FaultView]


class BatchResult(BaseModel):
    """Result of a batch: each element is accepted, a duplicate, or quarantined.

    `errors` also lists accepted elements of which a trait is held, because it cannot be read.
    """

    success: bool = True
    accepted: int
    duplicates: int
    quarantined: int
    in_flight: list[InFlightView] = []
    errors: list[MalformedElement] = []


class EventResult(BaseModel):
    """The call is committed. `quarantined` lists the faults for which it is held and changes nothing; of a trait that cannot
    be read, it alone is held.

    `duplicate`: an event with this id and content was accepted before, and this one changes nothing. `in_flight` lists
    messages that left before a withdrawal of consent and may still arrive.
    """

    success: bool = True
    duplicate: bool = False
    quarantined: list[str] = []
    in_flight: list[InFlightView] = []


class QuarantinedEvent(BaseModel):
    """A quarantined event as it arrived, without its `userHash`, with its faults, and the id of the key it came with."""

    id: int
    source: str
    message_id: str
    key_id: str
    name: str
    faults: list[str]
    event: dict[str, Any]
    received_at: datetime
    status: Literal["held", "replayed", "discarded"]
    settled_at: datetime | None


class DeadLetterView(BaseModel):
    """A signal that its run could not read."""

    id: int
    run: str
    step: int
    name: str
    reason: str
    payload: str
    recorded_at: datetime
    status: str


class ReplayResult(BaseModel):
    """Number of events replayed, and of those that still fail and stay held; the cursor of the following events."""

    replayed: int
    still_held: int
    next: str | None


class QuarantinedName(BaseModel):
    """Number of held events of one name."""

    name: str
    held: int
    first_at: datetime
    last_at: datetime


class QuarantinedNames(BaseModel):
    """Counts of held events, to see what to fix first."""

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
    data: SignalData = Field(default_factory=dict)
    at: Instant | None = None


class SignalResult(BaseModel):
    """The signal is committed. `quarantined` lists the faults for which it is held and changes nothing.

    `duplicate`: a signal with this id and content was accepted before, and this one changes nothing. `in_flight` lists
    messages that left before a withdrawal of consent and may still arrive.
    """

    id: str
    trace: str | None = None
    duplicate: bool = False
    quarantined: list[str] = []
    in_flight: list[InFlightView] = []


class PlayIn(BaseModel):
    """The journey to start, by whom and why. `data` is the data of its entry signal, such as the field of its case."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"journey": "renewal-readiness", "by": "dana", "why": "they asked for terms early", "data": {}}
        },
    )

    journey: ShortText
    by: ShortText | None = None
    why: ShortText
    data: Annotated[SignalData, Field(max_length=100)] = Field(default_factory=dict)
