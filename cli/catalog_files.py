"""The catalogue's files, read with every fault that is in them; files that are given stand in for those of their kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from activities.template_source import TemplateProblems
from activities.templates import read_template
from journeys.checker import check
from journeys.checks_policy import check_policy
from journeys.consent_rules import read_consent_rules
from journeys.definition import Journey
from journeys.policy import Policy
from journeys.problems import Problem, in_order
from journeys.reading import read_journey, read_model
from journeys.source import Source
from journeys.team import read_team
from journeys.templates import TemplateInfo
from journeys.tracking import TrackingPlan, read_plan

PLAN: Final = "tracking-plan.yaml"
POLICY: Final = "policy.yaml"
CONSENT: Final = "consent.yaml"
TEAM: Final = "team.yaml"
NO_TEMPLATE: Final = "T505"


@dataclass
class CatalogFiles:
    """What could be read, and what is wrong with each file. `broken` are templates whose files have faults."""

    plan: TrackingPlan | None = None
    policy: Policy | None = None
    journeys: dict[Path, tuple[Journey, Source]] = field(default_factory=dict)
    templates: dict[str, TemplateInfo] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    faults: dict[Path, list[Problem]] = field(default_factory=dict)

    def check(self, paths: Sequence[Path]) -> None:
        """Put these journeys to the checker, each beside all the others; without a plan there is nothing to check by."""
        if self.plan is None:
            return
        for path in paths:
            if path in self.journeys:
                journey, source = self.journeys[path]
                others = [other for at, (other, _) in self.journeys.items() if at != path]
                found = check(journey, self.plan, self.templates, others, source)
                self.faults[path] = [problem for problem in found if not self._is_told_elsewhere(problem)]

    def _is_told_elsewhere(self, problem: Problem) -> bool:
        """A template that cannot be read is there all the same; its own file's faults say what is wrong."""
        return problem.code == NO_TEMPLATE and problem.what.partition(" ")[0] in self.broken


def read_catalog(folder: Path, given: Sequence[Path] = ()) -> CatalogFiles:
    """Read the whole catalogue. A given journey replaces the one of its key; a given plan or policy the catalogue's."""
    found, policies = CatalogFiles(), dict[Path, Source]()
    for path in (*given, *_shipped(folder, given)):
        match _kind(path):
            case "template":
                _read_template(found, path)
            case "plan":
                found.plan, source = read_plan(path.read_bytes())
                found.faults[path] = source.problems
            case "policy":
                found.policy, source = read_model(path.read_bytes(), Policy)
                found.faults[path] = source.problems
                policies[path] = source
            case "consent":
                _, source = read_consent_rules(path.read_bytes())
                found.faults[path] = source.problems
            case "team":
                found.faults[path] = read_team(path.read_bytes())[1].problems
            case _:
                _read_journey(found, path, replaced=path not in given)
    for path, source in policies.items() if found.policy is not None else ():
        told = check_policy([journey for journey, _ in found.journeys.values()], found.templates, source)
        found.faults[path] += [each for each in told if each.what.partition(" ")[0] not in found.broken]
    return found


def _kind(path: Path) -> str:
    if path.suffix == ".md":
        return "template"
    return {PLAN: "plan", POLICY: "policy", CONSENT: "consent", TEAM: "team"}.get(path.name, "journey")


def _shipped(folder: Path, given: Sequence[Path]) -> Iterator[Path]:
    """The catalogue's own files, but for those that are given or that a given one stands in for."""
    names = {path.name for path in given}
    places = {path.resolve() for path in given}
    files = [folder / name for name in (PLAN, POLICY) if name not in names]
    files += [path for path in (folder / CONSENT, folder / TEAM) if path.exists() and path.name not in names]
    files += [*sorted((folder / "templates").rglob("*.md")), *sorted((folder / "journeys").glob("*.yaml"))]
    return (path for path in files if path.resolve() not in places)


def _read_journey(found: CatalogFiles, path: Path, *, replaced: bool) -> None:
    journey, source = read_journey(path.read_bytes())
    found.faults[path] = source.problems
    if journey is None or (replaced and journey.journey in {other.journey for other, _ in found.journeys.values()}):
        return
    found.journeys[path] = journey, source


def _read_template(found: CatalogFiles, path: Path) -> None:
    name = template_name(path)
    found.faults[path] = []
    try:
        found.templates.setdefault(name, read_template(path, name).info())
    except TemplateProblems as fault:
        found.broken.add(name)
        harm, mend = "Nothing that names it could be sent.", "Mend this line of the template."
        problems = [Problem("TEMPLATE", "", each.message, harm, mend, each.line, 1) for each in fault.problems]
        found.faults[path] = in_order(problems)


def template_name(path: Path) -> str:
    """`setup/first-steps` of `…/templates/setup/first-steps.md`; a file elsewhere goes by its own name."""
    parts = path.with_suffix("").parts
    within = [index for index, part in enumerate(parts) if part == "templates"]
    return "/".join(parts[within[-1] + 1 :]) if within else parts[-1]
