"""`python -m cli preview`: a template as a person would get it, from the files here, or for a real person through the API."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from activities.content.templates import load_templates
from activities.preview import ContentPreview
from cli.api_client import ApiError, KeyOption, UrlOption, remote
from cli.trial import CATALOG


def command(
    template: Annotated[str, typer.Argument(help="As journeys name it: setup/first-steps.")],
    user: Annotated[str | None, typer.Option(help="A person that events have named; asks the API.")] = None,
    profile: Annotated[Path | None, typer.Option(help="JSON: a sample profile, or {profile, account, data}.")] = None,
    data: Annotated[list[str] | None, typer.Option("--data", "-d", help="A variable: error=forbidden.")] = None,
    channel: Annotated[str, typer.Option(help="The channel it would go by.")] = "email",
    locale: Annotated[str | None, typer.Option(help="Another language than the person's.")] = None,
    variant: Annotated[str | None, typer.Option(help="One variant by name, whoever it is for.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the HTML to this file, to open it in a browser.")] = None,
    catalog: Annotated[Path, typer.Option(help="Folder of the catalogue.", exists=True, file_okay=False)] = CATALOG,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Show subject, variant and text, and what is missing. Nothing is sent."""
    asked: dict[str, Any] = {**_sample(profile), "channel": channel, "locale": locale, "variant": variant}
    asked["data"] |= dict(map(_pair, data or ()))
    if user is None:
        found = _here(catalog, template, asked)
    else:
        try:
            with remote(url, key) as api:
                found = api.preview(template, {**asked, "user": user})
        except ApiError as fault:
            raise _sorry(str(fault)) from None
    _show(found)
    if found["fault"] is not None:
        raise typer.Exit(1)
    if html is not None:
        html.write_text(found["html"], "utf-8")


def _here(catalog: Path, template: str, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        return ContentPreview(templates=partial(load_templates, catalog / "templates")).preview(template, asked)
    except LookupError as fault:
        raise _sorry(f"{fault.args[0]} is not in {catalog}, or no variant of {template}") from None
    except ValueError as fault:
        raise _sorry(str(fault)) from None


def _sorry(why: str) -> typer.Exit:
    typer.echo(why, err=True)
    return typer.Exit(1)


def _sample(path: Path | None) -> dict[str, Any]:
    """A file is a profile, unless it says which of the three it gives."""
    given = json.loads(path.read_text("utf-8")) if path is not None else {}
    if not isinstance(given, dict):
        raise typer.BadParameter(f"{path} is no JSON object")
    if not given.keys() <= {"profile", "account", "data"}:
        given = {"profile": given}
    return {"profile": {}, "account": {}, "data": {}} | given


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text}: give NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _show(found: dict[str, Any]) -> None:
    typer.echo(f"{found['template']} ({found['variant']}, {found['status']}) by {found['channel']}", err=True)
    for warning in found["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    if found["missing"]:
        typer.echo(f"not known: {', '.join(found['missing'])}", err=True)
    if found["fault"] is not None:
        typer.echo(f"it could not be made: {found['fault']}", err=True)
        return
    if found["sender"] is not None:
        typer.echo(f"From: {found['sender']['name']}")
    typer.echo(f"Subject: {found['subject']}\n\n{found['text']}")
