"""Port to a CRM that shows copies of tasks.

Our row is the record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

OUTCOME = "tenure_outcome"
KEY = "tenure_task_key"
"""Fields that the CRM's task must have beside its own: our key, which finds it again, and how it ended."""
MOST = 100
"""References that are asked about at once: HubSpot reads no more in one batch."""


@dataclass(frozen=True, slots=True)
class CrmReply:
    """What a CRM answered; `body` is its JSON, or None."""

    status: int
    body: Any = None


CrmCall = Callable[[str, str, Mapping[str, Any] | None], Awaitable[CrmReply]]
"""(method, path with query, JSON body) to one CRM: signed in, bounded in time and size, never redirected."""


class CrmFault(Exception):
    """The CRM did not do it. The provider's turn, and it is tried again; `status` is what it answered, 0 for nothing."""

    def __init__(self, what: str, status: int = 0) -> None:
        super().__init__(f"{what}: {status}" if status else what)
        self.status = status


class CrmPaused(CrmFault):
    """It was not asked at all: it is down, or wants a pause. Not this task's failure, and the next one would fare alike."""


@dataclass(frozen=True, slots=True)
class CrmTask:
    """A task as a CRM shows it. `key` is ours and never changes: 64 hexadecimal digits, the same in small or big letters.

    `number` is the task's here, `owner_id` who has it there, if that is known. Only one that `settles` says there whether it
    is open: another might open again what was closed there a moment ago.
    """

    key: str
    number: int
    task: str
    journey: str
    about: str
    owner: str
    owner_id: str | None
    why: str
    due_at: datetime | None
    opened_at: datetime
    open: bool
    settles: bool
    outcome: str | None
    overdue: bool
    data: Mapping[str, Any]

    @property
    def subject(self) -> str:
        return f"{self.task.replace('-', ' ')}: {self.about}"

    @property
    def lines(self) -> tuple[str, ...]:
        """What whoever opens it there reads."""
        known = (f"{name}: {value}" for name, value in sorted(self.data.items()))
        return (f"Task {self.number}, asked for by {self.journey}, for {self.owner}: {self.why}", *known)


@dataclass(frozen=True, slots=True)
class CrmTaskClosed:
    """A task that was closed there: how, in our words as far as they were given."""

    outcome: str | None


class CrmTasks(Protocol):
    """One CRM. Each call may be repeated, and raises MirrorFault."""

    @property
    def name(self) -> str:
        """Stable: it is in our tables."""
        ...

    async def push(self, task: CrmTask, reference: str | None) -> str:
        """Make the copy what the task is now; where it is there. One that is not there yet, or no more, is made."""
        ...

    async def ended(self, references: Sequence[str]) -> Mapping[str, CrmTaskClosed]:
        """Which of these were closed there; at most `MOST` at once."""
        ...
