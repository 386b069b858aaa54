"""`python -m cli publish`: publish journeys through the API."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from cli.api_client import ApiClient, ApiError, KeyOption, RefusedByApi, UrlOption, remote
from cli.problem_format import as_line
from cli.trial import journey_file, read_definition


def command(
    files: Annotated[list[str], typer.Argument(help="YAML files, or keys of the catalogue.", metavar="FILES...")],
    url: UrlOption = None,
    key: KeyOption = None,
    by: Annotated[str | None, typer.Option(help="Name of the publisher; by default your user name.")] = None,
) -> None:
    """Publish journeys. Open runs keep their version. Rejected journeys are reported with their problems."""
    paths = [journey_file(name) for name in files]
    try:
        with remote(url, key) as api:
            published = [publish_file(api, path, by or getpass.getuser()) for path in paths]
    except ApiError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    if not all(published):
        raise typer.Exit(1)


def publish_file(api: ApiClient, path: Path, by: str) -> bool:
    """Publish one file and print its version, or every problem; whether it was published."""
    key = read_definition(path).journey
    try:
        version = api.publish(key, path.read_bytes(), by)
    except RefusedByApi as refusal:
        for problem in refusal.problems:
            typer.echo(as_line(path, problem), err=True)
        typer.echo(f"{path}: {refusal}", err=True)
        return False
    result = "published" if version["created"] else "was published already"
    for warning in version.get("warnings", ()):
        typer.echo(f"{path}: {warning}", err=True)
    typer.echo(f"{key}: version {version['version']} ({version['hash']}) {result}")
    return True
