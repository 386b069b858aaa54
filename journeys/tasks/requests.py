"""Rules of requested tasks: reason, deadline, joining, escalation, owner of a reply (C10).

The store and the in-memory board apply them alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from journeys.decision.effects import EscalatedTask, OpenedTask
from journeys.tasks.assignment import Roster
from journeys.tasks.team import Team

NOBODY: Final = "support"
"""The owner of a reply without any other owner: a plain name, which the team file need not know."""


def reason_of(task: str, case: str) -> str:
    """The reason of a task: its kind, and the case of a journey that has cases (two tickets are two tasks)."""
    return f"{task}/{case}" if case else task


def deadline_of(
    roster: Roster, owner: str, at: datetime, *, within: str | None, due_at: datetime | None
) -> datetime | None:
    """The deadline of a task that `owner` has from `at` on: `due_at` if it is known, else `within` of their working time."""
    if due_at is not None or within is None:
        return due_at
    return roster.due(owner, at, within)


@dataclass(frozen=True, slots=True)
class JoinedDeadline:
    """The deadline of a task after one more run has requested it: `signalled` to that run, or `sooner` for all."""

    signalled: datetime | None = None
    sooner: datetime | None = None


def deadline_after_joining(effect: OpenedTask, due_at: datetime | None) -> JoinedDeadline:
    """A run that joins gets the deadline `due_at` of the task; a known and sooner one of its own applies to all."""
    if effect.within and due_at is not None:
        return JoinedDeadline(signalled=due_at)
    if effect.due_at is not None and (due_at is None or effect.due_at < due_at):
        return JoinedDeadline(sooner=effect.due_at)
    return JoinedDeadline()


def is_escalated_already(effect: EscalatedTask, level: int) -> bool:
    """Whether another run has escalated the task to this level before: then it stays with its owner."""
    return effect.level <= level


def deadline_still_ahead(within: str | None, due_at: datetime | None, at: datetime) -> datetime | None:
    """The deadline that a run still has to receive whose own timer for an earlier one has fired."""
    return due_at if within and due_at is not None and due_at > at else None


def reply_owner(team: Team, account: Mapping[str, Any], policy_owner: str | None, template_owner: str) -> str:
    """The owner of a reply: the account's manager, else the policy's, else the template's."""
    manager = account.get(team.owner)
    if isinstance(manager, str) and manager:
        return team.person_called(manager) or manager
    return policy_owner or template_owner or NOBODY
