"""Files of a catalogue, with every problem in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from activities.content.template_files import (
    POLICY,
    RULES,
    assemble,
    name_of,
    read_link_domains,
    read_rules,
    unlisted_links,
)
from journeys.checks.checker import check_journey
from journeys.checks.policy import check_policy
from journeys.checks.warnings import misspelt_owners, tasks_without_deadline
from journeys.consent.rules import read_consent_rules
from journeys.content.template_info import TemplateInfo
from journeys.content.variants import ContentRules
from journeys.events.tracking_plan import TrackingPlan, read_plan
from journeys.gate.policy import Policy
from journeys.language.definition import Journey
from journeys.language.parsing import read_journey, read_model
from journeys.language.problems import Problem, sorted_problems
from journeys.language.source import YamlSource
from journeys.tasks.assignment import Roster
from journeys.tasks.team import read_team

PLAN: Final = "tracking-plan.yaml"
CONSENT: Final = "consent.yaml"
TEAM: Final = "team.yaml"
KINDS: Final = {PLAN: "plan", POLICY: "policy", RULES: "rules", CONSENT: "consent", TEAM: "team"}
NO_TEMPLATE: Final = "T505"
ROLE: Final = "profile.role"


@dataclass
class CatalogFiles:
    """The readable parts of a catalogue, and the problems of each file. `broken` are names of templates with problems."""

    plan: TrackingPlan | None = None
    policy: Policy | None = None
    journeys: dict[Path, tuple[Journey, YamlSource]] = field(default_factory=dict)
    templates: dict[str, TemplateInfo] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    faults: dict[Path, list[Problem]] = field(default_factory=dict)
    overdue: dict[Path, str] = field(default_factory=dict)
    """By file: content past its review date (C11). A warning, not a problem."""
    warned: dict[Path, list[tuple[int, int, str, str]]] = field(default_factory=dict)
    """By file of a journey: warnings with line, column and code: tasks without a deadline (C10), misspelt owners."""
    roster: Roster = field(default_factory=Roster)

    def check(self, paths: Sequence[Path]) -> None:
        """Check these journeys, each together with all others. Without a tracking plan nothing can be checked."""
        if self.plan is None:
            return
        for path in paths:
            if path in self.journeys:
                journey, source = self.journeys[path]
                others = [other for other_path, (other, _) in self.journeys.items() if other_path != path]
                problems = check_journey(journey, self.plan, self.templates, others, source, self.policy)
                self.faults[path] = [problem for problem in problems if not self._is_reported_elsewhere(problem)]
                warnings = (
                    *(("UNDATED", at, text) for at, text in tasks_without_deadline(journey)),
                    *(("OWNER", at, text) for at, text in misspelt_owners(journey, self.roster)),
                )
                self.warned[path] = [(*source.position(at), code, text) for code, at, text in warnings]

    def _is_reported_elsewhere(self, problem: Problem) -> bool:
        """Whether the problem is a missing template that exists, but has problems of its own."""
        return problem.code == NO_TEMPLATE and problem.what.partition(" ")[0] in self.broken


def read_catalog(folder: Path, given: Sequence[Path] = ()) -> CatalogFiles:
    """Read the whole catalogue. A given journey replaces the one with its key; a given plan or policy the catalogue's."""
    files, policies = CatalogFiles(), dict[Path, YamlSource]()
    paths = (*given, *_catalog_paths(folder, given))
    _read_templates(files, folder, [path for path in paths if _kind(path) in {"template", "rules"}], given)
    for path in paths:
        match _kind(path):
            case "template" | "rules":
                pass
            case "plan":
                files.plan, source = read_plan(path.read_bytes())
                files.faults[path] = source.problems
            case "policy":
                files.policy, source = read_model(path.read_bytes(), Policy)
                files.faults[path] = source.problems
                policies[path] = source
            case "consent":
                _, source = read_consent_rules(path.read_bytes())
                files.faults[path] = source.problems
            case "team":
                team, source = read_team(path.read_bytes())
                files.faults[path] = source.problems
                files.roster = Roster(team) if team is not None else files.roster
            case _:
                _read_journey(files, path, replaced=path not in given)
    _check_rules(files, next((path for path in paths if path.name == RULES), None))
    for path, source in policies.items() if files.policy is not None else ():
        problems = check_policy([journey for journey, _ in files.journeys.values()], files.templates, source)
        files.faults[path] += [problem for problem in problems if problem.what.partition(" ")[0] not in files.broken]
    return files


def _check_rules(files: CatalogFiles, path: Path | None) -> None:
    """Dimensions of content are fields of the tracking plan, and their roles are roles of the plan."""
    if path is None or files.plan is None or files.faults[path]:
        return
    rules, source = read_model(path.read_bytes(), ContentRules)
    for name, dimension in (rules or ContentRules()).dimensions.items():
        if dimension.from_ not in files.plan.vocabulary:
            what = f"{dimension.from_} is not in the tracking plan"
            files.faults[path].append(_problem(what, source.position(("dimensions", name, "from"))[0]))
        for index, value in enumerate(dimension.values if dimension.from_ == ROLE else ()):
            if value not in files.plan.roles:
                line = source.position(("dimensions", name, "values", index))[0]
                files.faults[path].append(_problem(f"{value} is not a role of the tracking plan", line))


def _problem(what: str, line: int) -> Problem:
    harm, mend = "No message with this template can be sent.", "Correct this line of the template."
    return Problem("TEMPLATE", "", what, harm, mend, line, 1)


def _kind(path: Path) -> str:
    if path.suffix == ".md":
        return "template"
    return KINDS.get(path.name, "journey")


def _catalog_paths(folder: Path, given: Sequence[Path]) -> Iterator[Path]:
    """The catalogue's own files, without those that a given one replaces."""
    names = {path.name for path in given}
    resolved = {path.resolve() for path in given}
    needed = {PLAN, POLICY}
    own = [folder / name for name in KINDS if name not in names and (name in needed or (folder / name).is_file())]
    own += [*sorted((folder / "templates").rglob("*.md")), *sorted((folder / "journeys").glob("*.yaml"))]
    return (path for path in own if path.resolve() not in resolved)


def _read_journey(files: CatalogFiles, path: Path, *, replaced: bool) -> None:
    journey, source = read_journey(path.read_bytes())
    files.faults[path] = source.problems
    if journey is None or (replaced and journey.journey in {other.journey for other, _ in files.journeys.values()}):
        return
    files.journeys[path] = journey, source


def _read_templates(files: CatalogFiles, folder: Path, paths: Sequence[Path], given: Sequence[Path]) -> None:
    """Templates with their variants. A given one replaces the catalogue's of its name, variant by variant."""
    rules_path = next((path for path in given if path.name == RULES), folder / RULES)
    rules, problems = read_rules(rules_path)
    stems: dict[str, Path] = {}
    for path in paths:
        files.faults[path] = []
        if path.suffix == ".md":
            stems.setdefault(template_name(path), path)
    templates, more = assemble(rules, [(path, stem) for stem, path in stems.items()])
    policy_path = next((path for path in given if path.name == POLICY), folder / POLICY)
    more += unlisted_links(templates, read_link_domains(policy_path))
    files.templates = {name: template.info() for name, template in templates.items()}
    files.broken = {name_of(stem)[0] for stem in stems} - set(templates)
    for fault in (*problems, *more):
        path = Path(fault.file)
        files.faults[path] = sorted_problems([*files.faults.get(path, ()), _problem(fault.message, fault.line)])
    today = datetime.now(UTC).date()
    for source in (text for template in templates.values() for text in (template.source, *template.variants.values())):
        matter = source.matter
        if matter.status != "retired" and matter.review_date < today:
            files.overdue[Path(source.file)] = (
                f"was due for review on {matter.review_date}; its owner is {matter.owner}"
            )


def template_name(path: Path) -> str:
    """`setup/first-steps.de` for `…/templates/setup/first-steps.de.md`; elsewhere the file's own name."""
    parts = path.with_name(path.name.removesuffix(".md")).parts
    within = [index for index, part in enumerate(parts) if part == "templates"]
    return "/".join(parts[within[-1] + 1 :]) if within else parts[-1]
