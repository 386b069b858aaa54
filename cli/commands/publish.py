"""`python -m cli publish`: publish journeys through the API."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from cli.api_client import ApiClient, ApiError, KeyOption, RefusedByApi, UrlOption, remote
from cli.catalog_folder import journey_file, read_definition
from cli.problem_format import as_line
from cli.shipped_catalog import publish_shipped
from worker.settings import load_settings


def command(
    files: Annotated[
        list[str] | None, typer.Argument(help="YAML files, or keys of the catalogue.", metavar="FILES...")
    ] = None,
    catalog: Annotated[
        bool,
        typer.Option(
            "--catalog",
            help="All journeys of the catalogue, as `up` publishes them: none if a person has published one, or if "
            "TENURE_PUBLISH_CATALOG is false.",
        ),
    ] = False,
    url: UrlOption = None,
    key: KeyOption = None,
    by: Annotated[str | None, typer.Option(help="Name of the publisher; by default your user name.")] = None,
) -> None:
    """Publish journeys. Open runs keep their version. Rejected journeys are reported with their problems."""
    if bool(files) == catalog:
        raise typer.BadParameter("give files or keys, or --catalog for all journeys of the catalogue")
    paths = [journey_file(name) for name in files or ()]
    try:
        with remote(url, key) as api:
            if catalog:
                typer.echo(publish_whole_catalog(api))
                return
            published = [publish_file(api, path, by or getpass.getuser()) for path in paths]
    except ApiError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    if not all(published):
        raise typer.Exit(1)


def publish_whole_catalog(api: ApiClient) -> str:
    """Publish the catalogue's journeys to a new deployment; a line for people. Raises ApiError."""
    settings = load_settings()
    if not settings.publish_catalog:
        return "TENURE_PUBLISH_CATALOG is false: nothing is published"
    return (
        publish_shipped(api, settings.catalog) or "all journeys of the catalogue, or a person's, are published already"
    )


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
