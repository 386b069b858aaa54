"""`python -m cli lint`: everything that would be refused, or would hurt a person later, before it is published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.catalog_files import PLAN, CatalogFiles, read_catalog
from cli.problem_format import as_line
from cli.trial import CATALOG
from cli.unused_fields import as_lines, unread_fields


def command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Journeys, templates, a tracking plan, a policy, a team; all of the catalogue if left out."
        ),
    ] = None,
    catalog: Annotated[
        Path, typer.Option(help="Folder of the catalogue that the files belong to.", exists=True, file_okay=False)
    ] = CATALOG,
    only_unread: Annotated[
        bool, typer.Option("--unread", help="List what the tracking plan collects and nothing reads; no fault.")
    ] = False,
) -> None:
    """Check journeys, templates, tracking plan, policy and team: each problem as `file:line:column CODE what — harm — mend`.

    Content past its review date is told as OVERDUE, a task without a deadline as UNDATED; neither is a fault.
    """
    given = [_existing(path) for path in files or ()]
    found = read_catalog(catalog, given)
    if only_unread:
        show_unread(found)
        return
    found.check(given or list(found.journeys))
    told = _concerned(found, given)
    count = 0
    for path in told:
        for problem in found.faults.get(path, ()):
            typer.echo(as_line(path, problem))
            count += 1
        if path in found.overdue:
            typer.echo(f"{path}:1:1 OVERDUE {found.overdue[path]}")
        for line, column, what in found.warned.get(path, ()):
            typer.echo(f"{path}:{line}:{column} UNDATED {what}")
    if found.plan is None:
        typer.echo("Journeys are checked once the tracking plan can be read.", err=True)
    typer.echo(f"{_number(len(told), 'file')}, {_number(count, 'problem')}", err=True)
    if count:
        raise typer.Exit(1)


def show_unread(found: CatalogFiles) -> None:
    """The fields, one a line. Journeys that could not be published read nothing that can be relied on."""
    if found.plan is None or any(found.faults.values()):
        typer.echo("There are problems: see `python -m cli lint` first.", err=True)
        raise typer.Exit(1)
    names = unread_fields(found, found.plan)
    for line in as_lines(names, found.plan):
        typer.echo(line)
    total = len(found.plan.vocabulary)
    typer.echo(f"{len(names)} of {total} fields are read by no journey, template or rule of the gate", err=True)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise typer.BadParameter(f"{path} is not a file")
    return path


def _concerned(found: CatalogFiles, given: list[Path]) -> list[Path]:
    """The files that were asked about; and a plan that cannot be read, since nothing can be checked without it."""
    plans = [path for path in found.faults if path.name == PLAN and found.plan is None]
    return list(dict.fromkeys((*given, *plans))) if given else sorted(found.faults)


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count or 'no'} {what}s"
