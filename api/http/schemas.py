"""What the API answers, for OpenAPI. Answers are made from rows without these models; the fuzz test holds both together."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from journeys.content.surveys import LONGEST


class IdentityView(BaseModel):
    """A name under which senders know somebody."""

    kind: str
    value: str


class SubjectView(BaseModel):
    """A person or an account, as events have told. `key` is ours: random, and stable over merges."""

    key: str
    kind: Literal["user", "account"]
    identities: list[IdentityView]
    account: str | None
    profile: dict[str, Any]
    clock: str | None
    created_at: datetime
    updated_at: datetime


class RunView(BaseModel):
    """One journey of one subject, as of its last step."""

    id: str
    journey: str
    version: int | None
    definition: str
    subject: str
    case: str | None
    epoch: int
    status: Literal["open", "closed"]
    paused: bool
    state: str | None
    visit: int | None
    outcome: str | None
    started_at: datetime
    entered_at: datetime | None
    last_at: datetime | None
    next_due_at: datetime | None
    ended_at: datetime | None
    step: int
    clock: str | None
    live: dict[str, Any] | None = None
    """With `consistent=true`: the state inside the workflow, ahead of the row by what is on its way."""


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


class TimelineEntry(BaseModel):
    """One thing that happened to a person: an event, a decision of a run, or the verdict on a message."""

    at: datetime
    source: Literal["decision", "event", "message"]
    id: str
    kind: str
    about: str
    text: str
    run: str | None
    trace: str | None = None


class ReasonView(BaseModel):
    """Why, for a machine and for a person."""

    code: str
    text: str


class MessageView(BaseModel):
    """A row of the ledger: what became of a message, and why."""

    id: int
    key: str
    run: str
    journey: str
    state: str
    action: str
    template: str
    topic: str | None
    priority: str
    via: list[str]
    channel: str | None
    status: str
    reasons: list[ReasonView]
    at: datetime
    due_at: datetime | None
    expires_at: datetime | None
    decided_at: datetime
    sent_at: datetime | None
    settled_at: datetime | None
    attempts: int
    detail: str | None
    recipient: str
    step: int
    merged_into: str | None
    trace: str | None


class InboxItem(BaseModel):
    """An in-app message."""

    id: int
    content: dict[str, Any]
    created_at: datetime
    seen_at: datetime | None
    acted_at: datetime | None
    dismissed_at: datetime | None


class SurveyAnswer(BaseModel):
    """`value` is a whole number of the survey's scale, or the `value` of one of its choices; `comment` where it asks for one."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"value": 9, "comment": "It saves me an hour"}}
    )

    value: int | Annotated[str, StringConstraints(max_length=64)]
    comment: Annotated[str, StringConstraints(max_length=LONGEST, pattern=r"^[^\x00]*$")] | None = None


class ConsentView(BaseModel):
    """What a person has said about a channel and a topic; `*` is every one."""

    channel: str
    topic: str
    granted: bool
    source: str
    wording: str
    at: datetime


class ConsentLogEntry(BaseModel):
    """One entry of the log, which only grows. `granted` null took back what was said; `pending` is no grant yet."""

    id: int
    channel: str
    topic: str
    granted: bool | None
    pending: bool
    source: str
    wording: str
    proof: dict[str, Any]
    at: datetime


class InFlightView(BaseModel):
    """A message that had left before the withdrawal or suppression was known, and may still arrive."""

    id: int
    channel: str
    topic: str | None
    template: str


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


class JourneyView(BaseModel):
    """A published journey in its current version."""

    key: str
    hash: str
    version: int
    live: bool
    published_at: datetime
    published_by: str
    open_runs: int


class VersionView(BaseModel):
    """One version of a journey."""

    version: int
    hash: str
    published_at: datetime
    published_by: str
    current: bool | None
    open_runs: int


class TestClockView(BaseModel):
    """A test clock: `now` is what its people live by."""

    id: str
    origin: datetime
    started_at: datetime
    speed: float
    limit: datetime
    now: datetime
