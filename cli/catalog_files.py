"""The catalogue's files, read with every fault that is in them; files that are given stand in for those of their kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from activities.content.template_files import RULES, assemble, name_of, read_rules
from journeys.checks.checker import check_journey
from journeys.checks.policy import check_policy
from journeys.checks.warnings import tasks_without_deadline
from journeys.consent.rules import read_consent_rules
from journeys.content.template_info import TemplateInfo
from journeys.content.variants import ContentRules
from journeys.events.tracking_plan import TrackingPlan, read_plan
from journeys.gate.policy import Policy
from journeys.language.definition import Journey
from journeys.language.parsing import read_journey, read_model
from journeys.language.problems import Problem, sorted_problems
from journeys.language.source import YamlSource
from journeys.tasks.team import read_team

PLAN: Final = "tracking-plan.yaml"
POLICY: Final = "policy.yaml"
CONSENT: Final = "consent.yaml"
TEAM: Final = "team.yaml"
KINDS: Final = {PLAN: "plan", POLICY: "policy", RULES: "rules", CONSENT: "consent", TEAM: "team"}
NO_TEMPLATE: Final = "T505"
ROLE: Final = "profile.role"


@dataclass
class CatalogFiles:
    """What could be read, and what is wrong with each file. `broken` are templates whose files have faults."""

    plan: TrackingPlan | None = None
    policy: Policy | None = None
    journeys: dict[Path, tuple[Journey, YamlSource]] = field(default_factory=dict)
    templates: dict[str, TemplateInfo] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    faults: dict[Path, list[Problem]] = field(default_factory=dict)
    overdue: dict[Path, str] = field(default_factory=dict)
    """By file, what should have been looked at by now (C11): told, and no fault."""
    warned: dict[Path, list[tuple[int, int, str]]] = field(default_factory=dict)
    """By journey's file, tasks without a deadline (C10), with line and column: told, and no fault."""

    def check(self, paths: Sequence[Path]) -> None:
        """Put these journeys to the checker, each beside all the others; without a plan there is nothing to check by."""
        if self.plan is None:
            return
        for path in paths:
            if path in self.journeys:
                journey, source = self.journeys[path]
                others = [other for at, (other, _) in self.journeys.items() if at != path]
                found = check_journey(journey, self.plan, self.templates, others, source)
                self.faults[path] = [problem for problem in found if not self._is_told_elsewhere(problem)]
                self.warned[path] = [(*source.position(place), what) for place, what in tasks_without_deadline(journey)]

    def _is_told_elsewhere(self, problem: Problem) -> bool:
        """A template that cannot be read is there all the same; its own file's faults say what is wrong."""
        return problem.code == NO_TEMPLATE and problem.what.partition(" ")[0] in self.broken


def read_catalog(folder: Path, given: Sequence[Path] = ()) -> CatalogFiles:
    """Read the whole catalogue. A given journey replaces the one of its key; a given plan or policy the catalogue's."""
    found, policies = CatalogFiles(), dict[Path, YamlSource]()
    files = (*given, *_shipped(folder, given))
    _read_templates(found, folder, [path for path in files if _kind(path) in {"template", "rules"}], given)
    for path in files:
        match _kind(path):
            case "template" | "rules":
                pass
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
    _check_rules(found, next((path for path in files if path.name == RULES), None))
    for path, source in policies.items() if found.policy is not None else ():
        told = check_policy([journey for journey, _ in found.journeys.values()], found.templates, source)
        found.faults[path] += [each for each in told if each.what.partition(" ")[0] not in found.broken]
    return found


def _check_rules(found: CatalogFiles, path: Path | None) -> None:
    """What content varies by is known, and a role that a variant is for is one that somebody can have."""
    if path is None or found.plan is None or found.faults[path]:
        return
    rules, source = read_model(path.read_bytes(), ContentRules)
    for name, dimension in (rules or ContentRules()).dimensions.items():
        if dimension.from_ not in found.plan.vocabulary:
            what = f"{dimension.from_} is not in the tracking plan"
            found.faults[path].append(_told(what, source.position(("dimensions", name, "from"))[0]))
        for index, value in enumerate(dimension.values if dimension.from_ == ROLE else ()):
            if value not in found.plan.roles:
                line = source.position(("dimensions", name, "values", index))[0]
                found.faults[path].append(_told(f"{value} is not a role of the tracking plan", line))


def _told(what: str, line: int) -> Problem:
    harm, mend = "Nothing that names it could be sent.", "Mend this line of the template."
    return Problem("TEMPLATE", "", what, harm, mend, line, 1)


def _kind(path: Path) -> str:
    if path.suffix == ".md":
        return "template"
    return KINDS.get(path.name, "journey")


def _shipped(folder: Path, given: Sequence[Path]) -> Iterator[Path]:
    """The catalogue's own files, but for those that are given or that a given one stands in for."""
    names = {path.name for path in given}
    places = {path.resolve() for path in given}
    needed = {PLAN, POLICY}
    files = [folder / name for name in KINDS if name not in names and (name in needed or (folder / name).is_file())]
    files += [*sorted((folder / "templates").rglob("*.md")), *sorted((folder / "journeys").glob("*.yaml"))]
    return (path for path in files if path.resolve() not in places)


def _read_journey(found: CatalogFiles, path: Path, *, replaced: bool) -> None:
    journey, source = read_journey(path.read_bytes())
    found.faults[path] = source.problems
    if journey is None or (replaced and journey.journey in {other.journey for other, _ in found.journeys.values()}):
        return
    found.journeys[path] = journey, source


def _read_templates(found: CatalogFiles, folder: Path, paths: Sequence[Path], given: Sequence[Path]) -> None:
    """Templates with their variants. One that is given stands in for the catalogue's of its name, variant by variant."""
    rules_at = next((path for path in given if path.name == RULES), folder / RULES)
    rules, problems = read_rules(rules_at)
    files: dict[str, Path] = {}
    for path in paths:
        found.faults[path] = []
        if path.suffix == ".md":
            files.setdefault(template_name(path), path)
    templates, more = assemble(rules, [(path, stem) for stem, path in files.items()])
    found.templates = {name: template.info() for name, template in templates.items()}
    found.broken = {name_of(stem)[0] for stem in files} - set(templates)
    for each in (*problems, *more):
        at = Path(each.file)
        found.faults[at] = sorted_problems([*found.faults.get(at, ()), _told(each.message, each.line)])
    today = datetime.now(UTC).date()
    for source in (each for template in templates.values() for each in (template.source, *template.variants.values())):
        matter = source.matter
        if matter.status != "retired" and matter.review_date < today:
            found.overdue[Path(source.file)] = (
                f"was due for review on {matter.review_date}; its owner is {matter.owner}"
            )


def template_name(path: Path) -> str:
    """`setup/first-steps.de` of `…/templates/setup/first-steps.de.md`; a file elsewhere goes by its own name."""
    parts = path.with_name(path.name.removesuffix(".md")).parts
    within = [index for index, part in enumerate(parts) if part == "templates"]
    return "/".join(parts[within[-1] + 1 :]) if within else parts[-1]
