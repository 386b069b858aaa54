"""Schemas of tasks, their log and holds."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.http.pagination import Instant, ShortText

TaskNoteText = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]


class TaskRequestView(BaseModel):
    """A run that requested a task, with the action, and whether its request is still open."""

    run: str
    action: str
    status: Literal["open", "closed", "withdrawn"]


class TaskView(BaseModel):
    """A task. `named` is the owner in the journey, `owner` the current one, `why` the reason for this owner.

    `run` requested it first, `asked_by` has every request. `outcomes` are those that may close it; if empty, any may.
    """

    id: int
    key: str
    run: str
    subject: str
    account: str | None
    journey: str
    action: str
    task: str
    reason: str
    named: str | None
    owner: str
    team: str | None
    why: str
    level: int
    data: dict[str, Any]
    status: Literal["open", "closed", "withdrawn"]
    resolution: str | None
    closed_by: str | None
    within: str | None
    opened_at: datetime
    due_at: datetime | None
    overdue: bool
    remind_at: datetime | None
    reminded_at: datetime | None
    snoozed_until: datetime | None
    first_action_at: datetime | None
    closed_at: datetime | None
    seconds_to_first_action: float | None
    seconds_to_close: float | None
    clock: str | None
    asked_by: list[TaskRequestView]
    outcomes: list[str]


class TaskPartyView(BaseModel):
    """The person or the account that a task is about, by the fields of their profile."""

    key: str
    kind: Literal["user", "account"]
    id: str | None
    name: Any
    email: Any
    phone: Any
    role: Any
    title: Any
    company: Any
    plan: Any


class TaskPromiseView(BaseModel):
    """The promise of the journey's handoff: the field that its author names, with the value now."""

    model_config = ConfigDict(populate_by_name=True)

    field: str
    value: Any
    from_: Annotated[str, Field(alias="from")]
    to: str


class TaskMessageView(BaseModel):
    """A message that the requesting runs have sent."""

    id: int
    sent_at: datetime
    channel: str | None
    template: str
    subject: str | None
    status: str


class TaskDecisionView(BaseModel):
    """A decision of the step that opened the task."""

    at: datetime
    kind: str
    about: str
    text: str


class TaskContextView(BaseModel):
    """The context for whoever does the task: who it is about, what was promised and sent, and why it exists."""

    person: TaskPartyView | None
    account: TaskPartyView | None
    promised: TaskPromiseView | None
    sent: list[TaskMessageView]
    because: list[TaskDecisionView]


class TaskDetailView(TaskView):
    """A task with its context."""

    context: TaskContextView


class TaskLine(BaseModel):
    """One thing that happened to a task."""

    id: int
    at: datetime
    kind: str
    by: str
    text: str


class HoldView(BaseModel):
    """A hold on a person or an account (`subject`); automated messages wait while it is `standing`."""

    id: int
    subject: str
    since: datetime
    until: datetime
    by: str
    why: str
    standing: bool
    released_at: datetime | None
    released_by: str | None


class ConversationView(BaseModel):
    """A reply to a message of a run. The run's messages to this person wait until `until` or `closed_at`."""

    id: int
    run: str
    recipient: str
    message_id: int
    journey: str
    template: str
    channel: str
    owner: str
    task_id: int | None
    replies: int
    opened_at: datetime
    last_at: datetime
    until: datetime
    closed_at: datetime | None
    closed_by: str | None


class ConversationClosingIn(BaseModel):
    """Who closes the conversation, and the outcome of its task."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"by": "dana", "resolution": "answered"}})

    by: ShortText | None = None
    resolution: ShortText = "answered"


class TaskClosingIn(BaseModel):
    """Outcome of the task. Every journey that requested it receives `<action>.closed` with `outcome`, `by` and `note`."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"resolution": "reached", "by": "dana", "note": "call on Monday"}}
    )

    resolution: ShortText
    by: ShortText | None = None
    note: TaskNoteText = ""


class AssignmentIn(BaseModel):
    """The new owner: a person, or a team whose rules choose one. The remaining working time is kept."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"to": "erin", "by": "dana", "why": "she speaks Finnish"}}
    )

    to: ShortText
    by: ShortText | None = None
    why: ShortText


class SnoozeIn(BaseModel):
    """End of the snooze. The deadline and the reminder move with it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"until": "2027-05-03T08:00:00Z", "by": "dana", "why": "they are at a trade fair"}
        },
    )

    until: Instant
    by: ShortText | None = None
    why: ShortText


class TaskNoteIn(BaseModel):
    """A note for the task's log. The first note is the first action on the task."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"text": "left a message", "by": "dana"}})

    text: TaskNoteText
    by: ShortText | None = None


class HoldIn(BaseModel):
    """End of the hold, by whom and why. Lifecycle and promotional messages wait; urgent and transactional ones are sent."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"until": "2027-05-14T17:00:00Z", "by": "dana", "why": "we negotiate the renewal in person"}
        },
    )

    until: Instant
    by: ShortText | None = None
    why: ShortText
