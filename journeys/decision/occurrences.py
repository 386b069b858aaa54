"""What can happen to a run. `at` is the only now a decision knows (design §3, Time)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Facts = Mapping[str, Mapping[str, Any]]
"""By scope (`profile`, `account`), every known field that the definition reads, as JSON values."""

ResumeMode = Literal["shift", "catch_up", "expire"]


@dataclass(frozen=True, slots=True)
class Entered:
    """The run begins, by the signal that opened it."""

    at: datetime
    name: str
    data: Mapping[str, Any] = field(default_factory=dict)
    facts: Facts | None = None
    lane: str = ""
    seq: int = 0
    seen: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Signal:
    """Something happened to the subject. `at` was fixed when it was accepted."""

    at: datetime
    name: str
    data: Mapping[str, Any] = field(default_factory=dict)
    facts: Facts | None = None
    lane: str = ""
    seq: int = 0
    seen: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FieldsChanged:
    """Fields that the definition reads have changed, dates of its anchors among them."""

    at: datetime
    facts: Facts
    lane: str = ""
    seq: int = 0
    seen: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TimerDue:
    """Time has come: `at` is the due instant, however late the clock rang."""

    at: datetime


@dataclass(frozen=True, slots=True)
class DeadlineSet:
    """When a task is due now: its owner's working hours are known, or somebody put it off (C10).

    `ask` says which of the run's asks is meant (`effects.asked_in`): one that is over has no deadline any more.
    """

    at: datetime
    task: str
    ask: str
    due_at: datetime
    lane: str = ""
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Paused:
    """An operator holds the run: it listens, but acts on nothing."""

    at: datetime
    by: str = ""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The hold ends; `mode` says what becomes of the time that stood still."""

    at: datetime
    mode: ResumeMode = "shift"
    by: str = ""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """An operator ends the run."""

    at: datetime
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OptedOut:
    """No channel of the journey's topic remains to this person (C5)."""

    at: datetime
    lane: str = ""
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Merged:
    """The visitor turned out to be a known user who is in this journey already (U2)."""

    at: datetime
    lane: str = ""
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Erased:
    """The person is to be forgotten."""

    at: datetime
    lane: str = ""
    seq: int = 0


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
