"""`python -m cli preview`: render a template from files or through the API."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from activities.content.templates import load_templates
from activities.preview import ContentPreview
from cli.api_client import ApiError, KeyOption, UrlOption, remote
from cli.catalog_folder import CatalogOption


def command(
    template: Annotated[str, typer.Argument(help="Name of the template, such as setup/first-steps.")],
    catalog: CatalogOption,
    user: Annotated[str | None, typer.Option(help="User id of a known person; the API renders the template.")] = None,
    profile: Annotated[
        Path | None, typer.Option(help="JSON file with a sample profile, or {profile, account, data}.")
    ] = None,
    data: Annotated[list[str] | None, typer.Option("--data", "-d", help="Variable, such as error=forbidden.")] = None,
    channel: Annotated[str, typer.Option(help="Channel.")] = "email",
    locale: Annotated[str | None, typer.Option(help="Locale instead of the person's.")] = None,
    variant: Annotated[str | None, typer.Option(help="Variant by name, whatever its conditions.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the HTML to this file.")] = None,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Show subject, variant, text and missing variables. Nothing is sent."""
    request: dict[str, Any] = {**_sample(profile), "channel": channel, "locale": locale, "variant": variant}
    request["data"] |= dict(map(_pair, data or ()))
    if user is None:
        preview = _local(catalog, template, request)
    else:
        try:
            with remote(url, key) as api:
                preview = api.preview(template, {**request, "user": user})
        except ApiError as error:
            raise _failure(str(error)) from None
    _show(preview)
    if preview["fault"] is not None:
        raise typer.Exit(1)
    if html is not None:
        html.write_text(preview["html"], "utf-8")


def _local(catalog: Path, template: str, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return ContentPreview(templates=partial(load_templates, catalog / "templates")).preview(template, request)
    except LookupError as error:
        raise _failure(f"{error.args[0]} is not in {catalog}, or no variant of {template}") from None
    except ValueError as error:
        raise _failure(str(error)) from None


def _failure(reason: str) -> typer.Exit:
    typer.echo(reason, err=True)
    return typer.Exit(1)


def _sample(path: Path | None) -> dict[str, Any]:
    """The file as {profile, account, data}. A file with other keys is a profile."""
    sample = json.loads(path.read_text("utf-8")) if path is not None else {}
    if not isinstance(sample, dict):
        raise typer.BadParameter(f"{path} is not a JSON object")
    if not sample.keys() <= {"profile", "account", "data"}:
        sample = {"profile": sample}
    return {"profile": {}, "account": {}, "data": {}} | sample


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text}: give NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _show(preview: dict[str, Any]) -> None:
    typer.echo(f"{preview['template']} ({preview['variant']}, {preview['status']}) by {preview['channel']}", err=True)
    for warning in preview["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    if preview["missing"]:
        typer.echo(f"missing: {', '.join(preview['missing'])}", err=True)
    if preview["fault"] is not None:
        typer.echo(f"it cannot be rendered: {preview['fault']}", err=True)
        return
    if preview["sender"] is not None:
        typer.echo(f"From: {preview['sender']['name']}")
    typer.echo(f"Subject: {preview['subject']}\n\n{preview['text']}")
