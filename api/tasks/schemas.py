"""Schemas of tasks, their log and holds."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from api.http.pagination import Instant, ShortText

TaskNoteText = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]


class TaskRequestView(BaseModel):
    """A run that asked for a task, by which of its actions, and whether it still does."""

    run: str
    action: str
    status: Literal["open", "closed", "withdrawn"]


class TaskView(BaseModel):
    """Work for a person. `named` is whom the journey named, `owner` who has it, and `why` how that came about.

    `run` asked first, `asked_by` are all who did. `outcomes` are the words that may close it; any may if there are none.
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


class TaskLine(BaseModel):
    """One thing that happened to a task."""

    id: int
    at: datetime
    kind: str
    by: str
    text: str


class HoldView(BaseModel):
    """A person or an account (`subject`) whom somebody looks after in person; `standing` while automation waits."""

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
    """Somebody has answered a message of a run, which is quiet for them `until` then or `closed_at`."""

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
    """Who closes it, and how it ended: the task is closed with that word."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"by": "dana", "resolution": "answered"}})

    by: ShortText
    resolution: ShortText = "answered"


class TaskClosingIn(BaseModel):
    """How the work ended. Every journey that asked for it hears `<action>.closed` with `outcome`, `by` and `note`."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"resolution": "reached", "by": "dana", "note": "call on Monday"}}
    )

    resolution: ShortText
    by: ShortText
    note: TaskNoteText = ""


class AssignmentIn(BaseModel):
    """To whom it goes: a person, or a team whose rules find one. What was left of its working time is left."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"to": "erin", "by": "dana", "why": "she speaks Finnish"}}
    )

    to: ShortText
    by: ShortText
    why: ShortText


class SnoozeIn(BaseModel):
    """Until when it is put off: its deadline and its reminder move along."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"until": "2027-05-03T08:00:00Z", "by": "dana", "why": "they are on a fair"}},
    )

    until: Instant
    by: ShortText
    why: ShortText


class TaskNoteIn(BaseModel):
    """What was done or learnt. The first one is the first action on the task."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"text": "left a message", "by": "dana"}})

    text: TaskNoteText
    by: ShortText


class HoldIn(BaseModel):
    """Until when, by whom and why. Lifecycle and promotional messages wait meanwhile; urgent and transactional ones go."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"until": "2027-05-14T17:00:00Z", "by": "dana", "why": "we negotiate the renewal in person"}
        },
    )

    until: Instant
    by: ShortText
    why: ShortText
