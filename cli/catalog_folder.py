"""Catalogue that commands read: its folder, and the files in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Final, NoReturn, TypeVar

import typer

from cli.problem_format import as_line
from journeys.checks.structure import similar_name_hint
from journeys.consent.rules import ConsentRules, read_consent_rules
from journeys.decision.compiler import artifact_of, load_chart
from journeys.events.tracking_plan import TrackingPlan, read_plan
from journeys.gate.policy import Policy
from journeys.language.definition import Journey
from journeys.language.parsing import read_journey, read_model
from journeys.language.source import YamlSource
from journeys.tasks.assignment import Roster
from journeys.tasks.team import read_team

SHIPPED: Final = Path(__file__).resolve().parents[1] / "catalog"
VARIABLE: Final = "TENURE_CATALOG"
T = TypeVar("T")


def catalog_folder() -> Path:
    """The folder of TENURE_CATALOG, as for worker and API; by default the shipped one.

    It is relative where it is below the current folder, since reported places are read by people. Raises BadParameter.
    """
    folder = Path(os.environ.get(VARIABLE) or SHIPPED).expanduser()
    if not folder.is_dir():
        raise typer.BadParameter(f"{VARIABLE}={folder} is not a folder")
    return folder.relative_to(Path.cwd()) if folder.is_absolute() and folder.is_relative_to(Path.cwd()) else folder


CatalogOption = Annotated[
    Path,
    typer.Option(
        "--catalog",
        envvar=VARIABLE,
        help="Folder of the catalogue.",
        exists=True,
        file_okay=False,
        default_factory=catalog_folder,
        show_default="catalog",
    ),
]
"""The catalogue of a command that reads all of it."""


def journey_text(journey: str, plan: TrackingPlan) -> str:
    """Artifact of a journey, given as a YAML file or by its key in the catalogue. Exits with every problem."""
    path = journey_file(journey)
    definition = read_definition(path)
    text = artifact_of(definition, plan.types(definition))
    try:
        load_chart(text)
    except ValueError as error:
        typer.echo(f"{path} cannot run: {error}. `python -m cli lint {path}` shows where.", err=True)
        raise typer.Exit(1) from None
    return text


def journey_file(journey: str) -> Path:
    """File of a journey, given as a path or by its key in the catalogue."""
    path = Path(journey)
    if path.is_file():
        return path
    files = _files_by_key()
    if journey not in files:
        near = similar_name_hint(journey, files)
        known = f"which has {', '.join(sorted(files))}" if files else "which has none"
        raise typer.BadParameter(
            f"{journey} is neither a file nor a journey of the catalogue {catalog_folder()}, {known}{near}"
        )
    return files[journey]


def read_definition(path: Path) -> Journey:
    """A journey as written, unchecked. Exits with every problem of the text."""
    definition, source = read_journey(path.read_bytes())
    if definition is None:
        _exit_with_problems(path, source)
    return definition


def _files_by_key() -> dict[str, Path]:
    """Files of the catalogue's journeys by the key in the file; by its name where the file cannot be read."""
    files = dict[str, Path]()
    for path in sorted((catalog_folder() / "journeys").glob("*.yaml")):
        journey, _ = read_journey(path.read_bytes())
        files[journey.journey if journey is not None else path.stem] = path
    return files


def _text_of(path: Path | None, name: str) -> tuple[Path, bytes]:
    """A given file, or the catalogue's of this name, with its content. Exits if there is none."""
    path = path or catalog_folder() / name
    try:
        return path, path.read_bytes()
    except OSError as error:
        typer.echo(f"{path} cannot be read ({error.strerror}): the catalogue needs it.", err=True)
        raise typer.Exit(1) from None


def read_plan_file(path: Path | None = None) -> TrackingPlan:
    """The tracking plan at `path`, by default the catalogue's. Exits with every problem."""
    return _read_file(path, "tracking-plan.yaml", read_plan)


def read_policy_file(path: Path | None = None) -> Policy:
    """The policy at `path`, by default the catalogue's. Exits with every problem."""
    return _read_file(path, "policy.yaml", partial(read_model, model=Policy))


def read_team_file(path: Path | None = None) -> Roster:
    """The team at `path`, by default the catalogue's. Exits with every problem."""
    return Roster(_read_file(path, "team.yaml", read_team))


def read_consent_file(path: Path | None = None) -> ConsentRules:
    """The consent rules at `path`, by default the catalogue's. Exits with every problem."""
    return _read_file(path, "consent.yaml", read_consent_rules)


def _read_file(path: Path | None, name: str, read: Callable[[bytes], tuple[T | None, YamlSource]]) -> T:
    path, text = _text_of(path, name)
    value, source = read(text)
    if value is None:
        _exit_with_problems(path, source)
    return value


def _exit_with_problems(path: Path, source: YamlSource) -> NoReturn:
    for problem in source.problems:
        typer.echo(as_line(path, problem), err=True)
    raise typer.Exit(1)
