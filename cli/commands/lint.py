"""`python -m cli lint`: problems of the catalogue's files, before they are published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.catalog_folder import CatalogOption
from cli.problem_format import as_line
from cli.unused_fields import as_lines, unread_fields
from worker.catalogue.files import PLAN, CatalogFiles, read_catalog


def command(
    catalog: CatalogOption,
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Journeys, templates, tracking plan, policy, team; by default the whole catalogue."),
    ] = None,
    only_unread: Annotated[
        bool, typer.Option("--unread", help="List fields of the tracking plan that nothing reads.")
    ] = False,
) -> None:
    """Check journeys, templates, tracking plan, policy and team.

    Each problem is one line: file:line:column CODE problem — consequence — fix. OVERDUE (content past its review date),
    UNDATED (a task without a deadline) and OWNER (a name like one of the team) are warnings.
    """
    given = [_existing(path) for path in files or ()]
    files_read = read_catalog(catalog, given)
    if only_unread:
        show_unread(files_read)
        return
    files_read.check(given or list(files_read.journeys))
    reported = _reported(files_read, given)
    count = 0
    for path in reported:
        for problem in files_read.faults.get(path, ()):
            typer.echo(as_line(path, problem))
            count += 1
        if path in files_read.overdue:
            typer.echo(f"{path}:1:1 OVERDUE {files_read.overdue[path]}")
        for line, column, code, text in files_read.warned.get(path, ()):
            typer.echo(f"{path}:{line}:{column} {code} {text}")
    if files_read.plan is None:
        typer.echo("Journeys are not checked: the tracking plan cannot be read.", err=True)
    typer.echo(f"{_number(len(reported), 'file')}, {_number(count, 'problem')}", err=True)
    if count:
        raise typer.Exit(1)


def show_unread(files_read: CatalogFiles) -> None:
    """Print unread fields, one a line. Exits if there are problems: what a broken journey reads is not known."""
    if files_read.plan is None or any(files_read.faults.values()):
        typer.echo("The catalogue has problems: run `python -m cli lint` first.", err=True)
        raise typer.Exit(1)
    names = unread_fields(files_read, files_read.plan)
    for line in as_lines(names, files_read.plan):
        typer.echo(line)
    total = len(files_read.plan.vocabulary)
    typer.echo(f"{len(names)} of {total} fields are read by no journey, template or gate rule", err=True)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise typer.BadParameter(f"{path} is not a file")
    return path


def _reported(files_read: CatalogFiles, given: list[Path]) -> list[Path]:
    """The given files, or all; and a tracking plan that cannot be read, without which nothing is checked."""
    plans = [path for path in files_read.faults if path.name == PLAN and files_read.plan is None]
    return list(dict.fromkeys((*given, *plans))) if given else sorted(files_read.faults)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count or 'no'} {noun}s"
