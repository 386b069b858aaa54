"""Check of a whole catalogue before its publication, against the definitions with open runs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from pydantic import ValidationError

from activities.exports.audiences.membership import AudiencePlans
from journeys.checks.catalogue import NEEDED_BY_OPEN_RUNS, CheckedCatalogue, FileProblem, Files, OpenDefinition
from journeys.checks.checker import check_journey, publishable_definition
from journeys.language.problems import Problem
from worker.catalogue.files import CatalogFiles, read_catalog
from worker.catalogue.folder import AUDIENCES, NEEDED, is_published, write_folder


def check_catalogue(files: Files, current: Files, in_use: Sequence[OpenDefinition]) -> CheckedCatalogue:
    """Every problem of the files, or their definitions.

    A definition of `in_use` that the files do not publish again keeps what it needs: the templates that it sends with their
    variables, and the fields and signals that it reads. What it lacks in the `current` version too prevents nothing.
    """
    unusable = [*_unusable(files)]
    if unusable:
        return CheckedCatalogue({}, unusable)
    with tempfile.TemporaryDirectory(prefix="tenure-catalogue-") as home:
        checked = _Folder.of(files, Path(home) / "new")
        problems = [*checked.problems()]
        if problems or checked.files.plan is None:
            return CheckedCatalogue({}, problems)
        plan = checked.files.plan
        definitions = {
            checked.name(path): publishable_definition(journey, plan)
            for path, (journey, _) in checked.files.journeys.items()
        }
        published = {definition.hash for definition in definitions.values()}
        others = [definition for definition in in_use if definition.hash not in published]
        before = _Folder.of(current, Path(home) / "current") if current and others else None
        problems = [problem for definition in others for problem in _needed(definition, checked, before)]
        return CheckedCatalogue({} if problems else definitions, problems, [*checked.warnings()])


@dataclass(frozen=True, slots=True)
class _Folder:
    """A catalogue that is written to a folder and read from it."""

    root: Path
    files: CatalogFiles

    @staticmethod
    def of(files: Files, root: Path) -> _Folder:
        read = read_catalog(write_folder(root, files))
        read.check(list(read.journeys))
        return _Folder(root, read)

    def name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def problems(self) -> Iterator[FileProblem]:
        for path, problems in self.files.faults.items():
            yield from (FileProblem(self.name(path), problem) for problem in problems)

    def warnings(self) -> Iterator[str]:
        for path, text in self.files.overdue.items():
            yield f"{self.name(path)}: {text}"
        for path, warned in self.files.warned.items():
            yield from (f"{self.name(path)}:{line}: {text}" for line, _, _, text in warned)

    def problems_of(self, definition: OpenDefinition) -> list[Problem]:
        if self.files.plan is None:
            return []
        return check_journey(definition.journey, self.files.plan, self.files.templates, policy=self.files.policy)


def _unusable(files: Files) -> Iterator[FileProblem]:
    for name in NEEDED:
        if name not in files:
            yield FileProblem(name, _problem("the file is missing", "Add it to the catalogue."))
    for name, content in files.items():
        if not is_published(name):
            yield FileProblem(name, _problem("no file of a catalogue has this path", "Leave the file out."))
        elif not _is_text(content):
            yield FileProblem(name, _problem("the file is not UTF-8 text", "Save it as UTF-8."))
        elif name == AUDIENCES:
            yield from (FileProblem(name, _problem(fault, "Correct it.")) for fault in _audience_faults(content))


def _audience_faults(content: bytes) -> list[str]:
    try:
        AudiencePlans.model_validate(yaml.safe_load(content) or {})
    except yaml.YAMLError as error:
        return [f"it is not YAML: {getattr(error, 'problem', None) or 'it cannot be parsed'}"]
    except ValidationError as error:
        return [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
    return []


def _needed(definition: OpenDefinition, new: _Folder, before: _Folder | None) -> Iterator[FileProblem]:
    known = {_key(problem) for problem in before.problems_of(definition)} if before is not None else set()
    for problem in new.problems_of(definition):
        if _key(problem) not in known:
            what = f"version {definition.version} of {definition.key} has open runs and needs it: {problem.what}"
            mend = f"Keep it until these runs have ended. {problem.mend}"
            yield FileProblem(
                f"journeys/{definition.key}.yaml", replace(problem, code=NEEDED_BY_OPEN_RUNS, what=what, mend=mend)
            )


def _key(problem: Problem) -> tuple[str, str, str]:
    return problem.code, problem.place, problem.what


def _problem(what: str, mend: str) -> Problem:
    return Problem(NEEDED_BY_OPEN_RUNS, "", what, "The catalogue cannot be published.", mend, None, None)


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
