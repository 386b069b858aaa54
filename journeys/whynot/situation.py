"""A person's situation in one journey, and one step that changes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from journeys.decision.chart import Chart
from journeys.decision.entry import PastRun
from journeys.decision.occurrences import Facts
from journeys.decision.state import RunState
from journeys.language.conditions import Lookup
from journeys.whynot.changes import SuggestedChange

ORDINARY, ENDS_RUN, DRASTIC = 1, 8, 12
"""Costs of a step: one that ends a run, or changes the journey, is taken only where no other leads to the message."""


@dataclass(frozen=True, slots=True)
class Situation:
    """The open run's state or None, the runs of one case, and the person's fields, as of `at`.

    `may_again`: the person may enter again, whatever `past` has.
    """

    state: RunState | None
    past: tuple[PastRun, ...]
    facts: Facts
    at: datetime
    case: str = ""
    may_again: bool = False

    def lookup(self, chart: Chart, event: Mapping[str, Any]) -> Lookup:
        """Fields as a condition of the run reads them now, with this event's data."""

        def value_of(field: str) -> Any:
            scope, _, name = field.partition(".")
            match scope:
                case "now":
                    return self.at
                case "event":
                    return event.get(name)
                case "journey":
                    return self._of_run(name, chart)
                case _:
                    return self.facts.get(scope, {}).get(name)

        return value_of

    def _of_run(self, name: str, chart: Chart) -> Any:
        if self.state is None:
            return None
        known = {"state": self.state.state, "visits": self.state.visit, "key": chart.key}
        return known.get(name, self.state.variables.get(name))


@dataclass(frozen=True, slots=True)
class FalseCondition:
    """A step is needed because this condition is false; `source` is its text in the journey."""

    source: str


@dataclass(frozen=True, slots=True)
class GateClosed:
    """A step is needed because a message that is requested before it would be lost at the gate."""


StepCause = FalseCondition | GateClosed
"""Why a step is necessary, where its reader depends on it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One change and the situation after it.

    `why` is for people; `cause` is the fact behind it. `requests`: the message is requested then.
    """

    change: SuggestedChange
    why: str
    to: Situation
    requests: bool = False
    cost: int = ORDINARY
    cause: StepCause | None = None
