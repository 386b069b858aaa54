"""Occurrences: everything that can happen to a run, as frozen values.

`at` is the only current time in a decision: aware UTC, fixed when the occurrence was accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Any, Literal

from journeys.frozen import frozen

Facts = Mapping[str, Mapping[str, Any]]
"""By scope (`profile`, `account`), every known field that the definition reads, as JSON values."""

ResumeMode = Literal["shift", "catch_up", "expire"]


@frozen
class LaneOccurrence:
    """An occurrence of a recipient's lane: `seq` counts within `lane` from 1; 0 is an occurrence of no lane.

    `seen` is in old histories only: the last `seq` of another lane whose facts came along.
    """

    at: datetime
    lane: str = field(default="", kw_only=True)
    seq: int = field(default=0, kw_only=True)
    seen: Mapping[str, int] = field(default_factory=dict, kw_only=True)


@frozen
class Entered(LaneOccurrence):
    """The run begins, by the signal that opened it."""

    name: str
    data: Mapping[str, Any] = field(default_factory=dict)
    facts: Facts | None = None


@frozen
class Signal(LaneOccurrence):
    """An accepted event of the subject; `data` has the properties that the definition reads."""

    name: str
    data: Mapping[str, Any] = field(default_factory=dict)
    facts: Facts | None = None


@frozen
class FieldsChanged(LaneOccurrence):
    """Fields that the definition reads have changed, dates of its anchors among them."""

    facts: Facts


@frozen
class DeadlineSet(LaneOccurrence):
    """A task's deadline, known once its assignee's working hours are, or moved by an operator (C10).

    `request` is the `effects.task_request` it answers: a request that is over has no deadline.
    """

    task: str
    request: str
    due_at: datetime


@frozen
class OptedOut(LaneOccurrence):
    """The person has opted out of the last channel of the journey's topic (C5)."""


@frozen
class Merged(LaneOccurrence):
    """The visitor was merged into a known user who is in this journey already (U2)."""


@frozen
class Erased(LaneOccurrence):
    """The person's data is erased."""


@frozen
class TimerDue:
    """A timer is due: `at` is the due instant, however late the clock fires."""

    at: datetime


@frozen
class Paused:
    """An operator pauses the run; `by` is empty if their name is not given."""

    at: datetime
    by: str = ""


@frozen
class Resumed:
    """An operator ends the pause; `mode` decides about the timers that did not fire (`operator.resume`)."""

    at: datetime
    mode: ResumeMode = "shift"
    by: str = ""


@frozen
class Cancelled:
    """An operator ends the run."""

    at: datetime
    by: str = ""
    reason: str = ""


Occurrence = (
    Entered
    | Signal
    | FieldsChanged
    | TimerDue
    | DeadlineSet
    | Paused
    | Resumed
    | Cancelled
    | OptedOut
    | Merged
    | Erased
)
