"""Schemas of several endpoints, for OpenAPI: runs, timelines, messages."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel


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
    """With `consistent=true`: the state inside the workflow, which may be ahead of the row."""


class TimelineEntry(BaseModel):
    """One thing that happened to a person: an event, accepted or held, a decision of a run, or the verdict on a message."""

    at: datetime
    source: Literal["decision", "event", "message", "quarantine"]
    id: str
    kind: str
    about: str
    text: str
    run: str | None
    trace: str | None = None


class ReasonView(BaseModel):
    """A reason, as a code and as a sentence."""

    code: str
    text: str


class MessageView(BaseModel):
    """A row of the ledger: a message with its status and reasons."""

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


class InFlightView(BaseModel):
    """A message that had left before the withdrawal or suppression was known, and may still arrive."""

    id: int
    channel: str
    topic: str | None
    template: str
