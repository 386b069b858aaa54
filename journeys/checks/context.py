"""CheckContext: a definition, what it may refer to, and positions in its text.

Everything that several checks read is computed once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from journeys.content.template_info import TemplateInfo
from journeys.decision.compiler import BUILT_IN, carried_by
from journeys.events.tracking_plan import TrackingPlan
from journeys.gate.policy import Policy
from journeys.language import definition as d
from journeys.language.outcome_signals import is_segment_signal, outcome_signals
from journeys.language.problems import Path, Problem, problem
from journeys.language.source import YamlSource
from journeys.language.traversal import (
    ActionSite,
    Expression,
    Reaction,
    actions_of,
    expressions_of,
    incoming_transitions,
    reactions_of,
)


@dataclass(frozen=True)
class CheckContext:
    """One definition with the tracking plan, the templates by name, the other live journeys, and the policy if known."""

    journey: d.Journey
    plan: TrackingPlan
    templates: Mapping[str, TemplateInfo]
    others: tuple[d.Journey, ...] = ()
    source: YamlSource | None = None
    policy: Policy | None = None

    @cached_property
    def reactions(self) -> tuple[Reaction, ...]:
        return tuple(reactions_of(self.journey))

    @cached_property
    def actions(self) -> tuple[ActionSite, ...]:
        return tuple(actions_of(self.journey))

    @cached_property
    def expressions(self) -> dict[Path, Expression]:
        return {expression.path: expression for expression in expressions_of(self.journey)}

    @cached_property
    def incoming(self) -> dict[str, tuple[str, ...]]:
        return incoming_transitions(self.journey)

    @cached_property
    def outcomes(self) -> dict[str, Mapping[str, str]]:
        return outcome_signals(self.journey)

    @cached_property
    def types(self) -> dict[str, str]:
        """The types of all fields that some expression of this definition may read, by dotted name."""
        variables = {f"journey.{name}": kind for name, kind in self.journey.variables.items()}
        types = {**self.plan.types(self.journey), **BUILT_IN, **variables}
        if self.journey.subject == "account":
            types = {name: kind for name, kind in types.items() if not name.startswith("profile.")}
        return types

    def carried(self, signal: str) -> dict[str, str]:
        """The properties that a signal carries, with their types."""
        return carried_by(self.types, signal)

    def is_signal(self, name: str) -> bool:
        """Whether a run of this journey can receive a signal of this name."""
        return name in self.plan.signals or name in self.outcomes or is_segment_signal(name)

    def problem(
        self,
        code: str,
        path: Path,
        text: str,
        *,
        mend: str | None = None,
        column: int | None = None,
        line: int = 1,
        key: bool = False,
    ) -> Problem:
        """A problem at this path; `line` and `column` count from 1 within the expression there."""
        if self.source is None:
            return problem(code, path, text, mend=mend)
        written = self.source.written(path)
        if column is not None and written[-1:] == path[-1:]:
            at = self.source.within(path, line, column, key=key)
        else:
            at = self.source.position(path)
        return problem(code, written, text, mend=mend, at=at)


def state_of(site: ActionSite) -> str | None:
    """The state in whose visit an action runs: a transition's actions run in its target. None is any state."""
    if site.reaction is None:
        return site.state
    for path, transition in site.reaction.each_transition():
        if site.path[: len(path)] == path and transition.to is not None:
            return transition.to
    return site.state
