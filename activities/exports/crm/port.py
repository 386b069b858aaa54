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
"""Custom fields of a task in the CRM: our key, by which it is found, and its outcome."""
MOST = 100
"""References of one read; HubSpot allows no more in a batch."""


@dataclass(frozen=True, slots=True)
class CrmReply:
    """Reply of a CRM; `body` is its JSON, or None."""

    status: int
    body: Any = None


CrmCall = Callable[[str, str, Mapping[str, Any] | None], Awaitable[CrmReply]]
"""Call to one CRM: method, path with query, JSON body. Authenticated, limited in time and size, without redirects."""


class CrmFault(Exception):
    """A call failed and is tried again. `status` is that of the reply, 0 without one. The provider's turn."""

    def __init__(self, detail: str, status: int = 0) -> None:
        super().__init__(f"{detail}: {status}" if status else detail)
        self.status = status


class CrmPaused(CrmFault):
    """The CRM was not called, because it is down or asked for a pause. No failure of the task."""


@dataclass(frozen=True, slots=True)
class CrmTask:
    """A task for a CRM.

    - `key`: hash of the task's key, 64 hexadecimal digits, constant; `number`: the task's number here
    - `owner_id`: the owner's id in the CRM, if known
    - `settles`: whether the copy's status is written; otherwise a task just closed in the CRM might be reopened
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
        """Text of the copy: number, journey, owner, reason, then the data."""
        data = (f"{name}: {value}" for name, value in sorted(self.data.items()))
        return (f"Task {self.number} of {self.journey}, for {self.owner}: {self.why}", *data)


@dataclass(frozen=True, slots=True)
class CrmTaskClosed:
    """A task closed in the CRM, with its outcome if one was given."""

    outcome: str | None


class CrmTasks(Protocol):
    """A CRM. Every call may be repeated, and raises CrmFault."""

    @property
    def name(self) -> str:
        """Name of the CRM, which our tables contain."""
        ...

    async def push(self, task: CrmTask, reference: str | None) -> str:
        """Create or update the copy; returns its reference in the CRM."""
        ...

    async def ended(self, references: Sequence[str]) -> Mapping[str, CrmTaskClosed]:
        """Which of these copies were closed in the CRM; at most `MOST` references."""
        ...
