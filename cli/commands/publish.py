"""`python -m cli publish`: publish journeys, or a whole catalogue, through the API."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from cli.api_client import ApiClient, ApiError, KeyOption, RefusedByApi, UrlOption, remote
from cli.catalog_folder import CatalogOption, journey_file, read_definition
from cli.problem_format import as_line
from cli.shipped_catalog import publish_shipped
from worker.catalogue.folder import read_folder
from worker.settings import load_settings


def command(
    catalog: CatalogOption,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="YAML files, or keys of the catalogue; by default the whole catalogue.", metavar="FILES..."
        ),
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    by: Annotated[str | None, typer.Option(help="Name of the publisher; by default your user name.")] = None,
    new: Annotated[
        bool,
        typer.Option(
            "--new",
            help="Publish to a new deployment, as `up` does: nothing if a person has published, or if "
            "TENURE_PUBLISH_CATALOG is false.",
        ),
    ] = False,
    retire: Annotated[
        list[str] | None, typer.Option(help="Key of a live journey that the catalogue does not have; may be repeated.")
    ] = None,
) -> None:
    """Publish a catalogue as one version: journeys, templates, policy, plan, consent and team. Processes use it at once.

    With FILES publish only these journeys. Open runs keep their version. What is rejected is reported with its problems.
    """
    name = by or getpass.getuser()
    try:
        with remote(url, key) as api:
            if new:
                typer.echo(publish_to_new(api, catalog))
                return
            if files:
                published = [publish_file(api, journey_file(file), name) for file in files]
            else:
                published = [publish_folder(api, catalog, name, retire or [])]
    except ApiError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    if not all(published):
        raise typer.Exit(1)


def publish_to_new(api: ApiClient, folder: Path) -> str:
    """Publish a catalogue to a new deployment; a line for people. Raises ApiError."""
    if not load_settings().publish_catalog:
        return "TENURE_PUBLISH_CATALOG is false: nothing is published"
    return publish_shipped(api, folder) or "the catalogue, or a person's, is published already"


def publish_folder(api: ApiClient, folder: Path, by: str, retire: list[str]) -> bool:
    """Publish a catalogue and print its version, or every problem; whether it was published."""
    try:
        version = api.publish_catalogue(read_folder(folder), by, retire)
    except UnicodeDecodeError as fault:
        typer.echo(f"{folder}: a file is not UTF-8 text ({fault.reason}); save it as UTF-8", err=True)
        return False
    except RefusedByApi as refusal:
        for file, problem in zip(refusal.files, refusal.problems, strict=True):
            typer.echo(as_line(folder / file if file else folder, problem), err=True)
        typer.echo(f"{folder}: {refusal}", err=True)
        return False
    for warning in version["warnings"]:
        typer.echo(f"{folder}/{warning}", err=True)
    result = "published" if version["created"] else "was published already"
    typer.echo(f"catalogue: version {version['number']} ({version['hash'][:12]}) {result}")
    for journey, number in version["journeys"].items():
        typer.echo(f"{journey}: version {number}")
    for journey in version["retired"]:
        typer.echo(f"{journey}: retired, its open runs go on")
    return True


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
