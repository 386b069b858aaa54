"""What would hurt a person later is refused before it is published: every problem at once, each at its place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from journeys.checks.conflicts import check_conflicts
from journeys.checks.context import CheckContext
from journeys.checks.expressions import check_conditions
from journeys.checks.messages import check_messages
from journeys.checks.ownership import check_people
from journeys.checks.structure import check_structure
from journeys.checks.timers import check_time
from journeys.content.template_info import TemplateInfos
from journeys.decision.compiler import artifact_of, load_chart
from journeys.events.tracking_plan import TrackingPlan
from journeys.language.definition import Journey
from journeys.language.parsing import read_journey
from journeys.language.problems import Problem, sorted_problems
from journeys.language.source import YamlSource

_CHECKS = (check_structure, check_time, check_conditions, check_messages, check_people, check_conflicts)


@dataclass(frozen=True, slots=True)
class PublishableDefinition:
    """A definition that may go live: its model, the text that runs carry, and that text's address."""

    journey: Journey
    artifact_text: str
    hash: str


def check_journey(
    journey: Journey,
    plan: TrackingPlan,
    templates: TemplateInfos,
    others: Iterable[Journey] = (),
    source: YamlSource | None = None,
) -> list[Problem]:
    """Every problem of a definition; empty when it may be published. With its source, each has line and column.

    `others` are the journeys that are live beside it; one of the same key is what it replaces and is passed over.
    """
    look = CheckContext(journey, plan, templates, tuple(others), source)
    return sorted_problems(problem for part in _CHECKS for problem in part(look))


def publishable(
    text: str | bytes, plan: TrackingPlan, templates: TemplateInfos, others: Iterable[Journey] = ()
) -> PublishableDefinition | list[Problem]:
    """Read, check and seal a definition, YAML or JSON; or every reason why not. Never raises."""
    journey, source = read_journey(text)
    if journey is None:
        return source.problems
    problems = check_journey(journey, plan, templates, others, source)
    return problems or artifact_problems(journey, plan)


def artifact_problems(journey: Journey, plan: TrackingPlan) -> PublishableDefinition:
    """The artifact of a definition that the checker has passed."""
    text = artifact_of(journey, plan.types(journey))
    return PublishableDefinition(journey, text, load_chart(text).hash)
