"""What the API answers of work for people: tasks, what was done with them, holds."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel


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
