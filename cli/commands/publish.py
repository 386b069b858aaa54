"""`python -m cli publish`: journeys go live through the API, which checks them beside everything that is live already."""

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
    by: Annotated[str | None, typer.Option(help="Who publishes; your name on this machine if left out.")] = None,
) -> None:
    """Publish journeys. Runs in flight keep the version that they began with; what is refused is told line by line."""
    paths = [journey_file(each) for each in files]
    try:
        with remote(url, key) as api:
            done = [publish_file(api, path, by or getpass.getuser()) for path in paths]
    except ApiError as fault:
        typer.echo(str(fault), err=True)
        raise typer.Exit(1) from None
    if not all(done):
        raise typer.Exit(1)


def publish_file(api: ApiClient, path: Path, by: str) -> bool:
    """Publish one file and say so, or say every reason why not."""
    key = read_definition(path).journey
    try:
        found = api.publish(key, path.read_bytes(), by)
    except RefusedByApi as refusal:
        for problem in refusal.problems:
            typer.echo(as_line(path, problem), err=True)
        typer.echo(f"{path}: {refusal}", err=True)
        return False
    what = "published" if found["created"] else "was published already"
    for warning in found.get("warnings", ()):
        typer.echo(f"{path}: {warning}", err=True)
    typer.echo(f"{key}: version {found['version']} ({found['hash']}) {what}")
    return True
