"""PersonView, the input of `obstacles`: runs, fields, gate context, past decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from journeys.decision.entry import EventTimes
from journeys.decision.occurrences import Facts
from journeys.decision.state import RunState
from journeys.gate.status import LastDecisionStatus
from journeys.gate.verdicts import RecipientContext
from journeys.whynot.gate_obstacles import GateFacts


@dataclass(frozen=True, slots=True)
class PastRunView:
    """A run of one journey, open or ended. `memory` is the whole state of an open run, in terms of its own `definition`."""

    run: str
    epoch: int
    state: str | None
    since: datetime | None
    is_open: bool
    outcome: str | None = None
    ended_at: datetime | None = None
    memory: RunState | None = None
    case: str = ""
    definition: str = ""


@dataclass(frozen=True, slots=True)
class LastEvent:
    """The last event of a name that was accepted for this person: `at`, and `occurred_at` where that differs."""

    at: datetime
    data: Mapping[str, Any]
    occurred_at: datetime | None = None
    historical: bool = False

    @property
    def times(self) -> EventTimes:
        """Its times, by which it may be history."""
        return EventTimes(self.occurred_at or self.at, self.at, self.historical)


@dataclass(frozen=True, slots=True)
class LastDecision:
    """The status of an action's last message in a run, `since` when, and until when it waits (`due`) if it does."""

    run: str
    action: str
    status: LastDecisionStatus
    why: str = ""
    due: datetime | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class PersonView:
    """Everything about a person that one journey depends on. `runs` and `decided` have the newest first.

    `last_events` has the last event by name. `account` is the account of an account's journey. `missing` has, by
    action, the unknown fields that its message needs, where the chart alone does not give them.
    """

    runs: Sequence[PastRunView]
    facts: Facts
    context: RecipientContext
    gate_facts: GateFacts = field(default_factory=GateFacts)
    last_events: Mapping[str, LastEvent] = field(default_factory=dict)
    decided: Sequence[LastDecision] = ()
    account: str | None = None
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def run(self) -> PastRunView | None:
        """The open run, else the newest."""
        return next((run for run in self.runs if run.is_open), next(iter(self.runs), None))

    def last_decision(self, action: str) -> LastDecision | None:
        """The last decision about this action in `run`."""
        run = self.run
        decisions = (
            decision for decision in self.decided if run and (decision.run, decision.action) == (run.run, action)
        )
        return next(decisions, None)
