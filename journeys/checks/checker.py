"""What would hurt a person later is refused before it is published: every problem at once, each at its place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from journeys.checks.conflicts import check_conflicts
from journeys.checks.context import Inspection
from journeys.checks.expressions import check_conditions
from journeys.checks.messages import check_messages
from journeys.checks.ownership import check_people
from journeys.checks.structure import check_structure
from journeys.checks.timers import check_time
from journeys.content.template_info import TemplateInfos
from journeys.decision.compiler import artifact, load_chart
from journeys.events.tracking_plan import TrackingPlan
from journeys.language.definition import Journey
from journeys.language.parsing import read_journey
from journeys.language.problems import Problem, in_order
from journeys.language.source import Source

_CHECKS = (check_structure, check_time, check_conditions, check_messages, check_people, check_conflicts)


@dataclass(frozen=True, slots=True)
class Published:
    """A definition that may go live: its model, the text that runs carry, and that text's address."""

    journey: Journey
    artifact_text: str
    hash: str


def check(
    journey: Journey,
    plan: TrackingPlan,
    templates: TemplateInfos,
    others: Iterable[Journey] = (),
    source: Source | None = None,
) -> list[Problem]:
    """Every problem of a definition; empty when it may be published. With its source, each has line and column.

    `others` are the journeys that are live beside it; one of the same key is what it replaces and is passed over.
    """
    look = Inspection(journey, plan, templates, tuple(others), source)
    return in_order(problem for part in _CHECKS for problem in part(look))


def publishable(
    text: str | bytes, plan: TrackingPlan, templates: TemplateInfos, others: Iterable[Journey] = ()
) -> Published | list[Problem]:
    """Read, check and seal a definition, YAML or JSON; or every reason why not. Never raises."""
    journey, source = read_journey(text)
    if journey is None:
        return source.problems
    problems = check(journey, plan, templates, others, source)
    return problems or sealed(journey, plan)


def sealed(journey: Journey, plan: TrackingPlan) -> Published:
    """The artifact of a definition that the checker has passed."""
    text = artifact(journey, plan.types(journey))
    return Published(journey, text, load_chart(text).hash)
