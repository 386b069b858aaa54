"""The checker: every problem of a definition, and its artifact if there is none.

A definition that would harm a person later is refused before it is published.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from journeys.checks.conflicts import check_conflicts
from journeys.checks.context import CheckContext
from journeys.checks.expressions import check_expressions
from journeys.checks.messages import check_messages
from journeys.checks.ownership import check_ownership
from journeys.checks.public_inputs import check_public_inputs
from journeys.checks.structure import check_structure
from journeys.checks.timers import check_timers
from journeys.content.template_info import TemplateInfos
from journeys.decision.compiler import artifact_of, load_chart
from journeys.events.tracking_plan import TrackingPlan
from journeys.gate.policy import Policy
from journeys.language.definition import Journey
from journeys.language.parsing import read_journey
from journeys.language.problems import Problem, sorted_problems
from journeys.language.source import YamlSource

_CHECKS = (
    check_structure,
    check_timers,
    check_expressions,
    check_messages,
    check_public_inputs,
    check_ownership,
    check_conflicts,
)


@dataclass(frozen=True, slots=True)
class PublishableDefinition:
    """A definition without problems: its model, its artifact's text, and that text's hash."""

    journey: Journey
    artifact_text: str
    hash: str


def check_journey(
    journey: Journey,
    plan: TrackingPlan,
    templates: TemplateInfos,
    others: Iterable[Journey] = (),
    source: YamlSource | None = None,
    policy: Policy | None = None,
) -> list[Problem]:
    """Every problem of a definition, empty if it may be published; with `source`, each has line and column.

    `others` are the journeys live beside it; one of the same key is the version it replaces and is not compared. Without
    a `policy`, one that cannot be read, nothing is said of priorities.
    """
    context = CheckContext(journey, plan, templates, tuple(others), source, policy)
    return sorted_problems(problem for check in _CHECKS for problem in check(context))


def publishable(
    text: str | bytes,
    plan: TrackingPlan,
    templates: TemplateInfos,
    others: Iterable[Journey] = (),
    policy: Policy | None = None,
) -> PublishableDefinition | list[Problem]:
    """Read and check a definition, YAML or JSON: its artifact, or every problem. Never raises."""
    journey, source = read_journey(text)
    if journey is None:
        return source.problems
    problems = check_journey(journey, plan, templates, others, source, policy)
    return problems or publishable_definition(journey, plan)


def publishable_definition(journey: Journey, plan: TrackingPlan) -> PublishableDefinition:
    """The artifact of a definition that the checker has passed."""
    text = artifact_of(journey, plan.types(journey))
    return PublishableDefinition(journey, text, load_chart(text).hash)
