"""`python -m cli keys`: list, make, rotate and revoke API keys through the API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from cli.api_client import ApiClient, ApiError, KeyOption, RefusedByApi, UrlOption, remote
from cli.commands.where import in_columns

HEAD: Final = ("id", "name", "kind", "scopes", "source", "made", "by", "state")


def command(
    key_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Id of one key, with --rotate or --revoke.")
    ] = None,
    make: Annotated[str | None, typer.Option(metavar="NAME", help="Make a key with this name.")] = None,
    kind: Annotated[str, typer.Option(help="Kind of the new key: public, secret or operator.")] = "secret",
    scopes: Annotated[
        list[str] | None,
        typer.Option("--scope", help="Scope of a new operator's key: read, operate, publish or admin; several times."),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Namespace of message ids of the new key; by default its name.")
    ] = None,
    rotate: Annotated[bool, typer.Option("--rotate", help="Replace the secret of the key.")] = False,
    overlap: Annotated[float, typer.Option(help="Hours for which the old secret stays valid.")] = 24,
    revoke: Annotated[bool, typer.Option("--revoke", help="End the key at once.")] = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """List API keys, or make, rotate or revoke one. A new secret is printed once; nothing else can show it again."""
    if (rotate or revoke) != (key_id is not None) or sum((rotate, revoke, make is not None)) > 1:
        raise typer.BadParameter(
            "give --make NAME, or a key's id with --rotate or --revoke; without them the keys are listed"
        )
    try:
        with remote(url, key) as api:
            if make is not None:
                wish = {"name": make, "kind": kind, "scopes": scopes or [], **({"source": source} if source else {})}
                lines = list(_issued(api.post("/v1/keys", wish)))
            elif rotate:
                lines = list(_issued(api.post(f"/v1/keys/{key_id}/rotate", {"overlap_hours": overlap})))
            elif revoke:
                lines = [_revoked(api.post(f"/v1/keys/{key_id}/revoke", {}))]
            else:
                lines = list(_list(api))
    except ApiError as error:
        reasons = [problem.what for problem in error.problems] if isinstance(error, RefusedByApi) else []
        typer.echo("; ".join([str(error), *reasons]), err=True)
        raise typer.Exit(1) from None
    for line in lines:
        typer.echo(line)


def _list(api: ApiClient) -> Iterator[str]:
    rows = [_row(row) for row in api.items("/v1/keys")]
    if rows:
        yield from in_columns([HEAD, *rows])
    else:
        yield "no keys except those in the settings"


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    scopes = ",".join(row["scopes"]) or "-"
    return (
        row["id"],
        row["name"],
        row["kind"],
        scopes,
        row["source"],
        _at(row["made_at"]),
        row["made_by"],
        _state(row),
    )


def _state(row: Mapping[str, Any]) -> str:
    if row["revoked_at"]:
        return f"revoked {_at(row['revoked_at'])} by {row['revoked_by']}"
    until = row["previous_until"]
    overlaps = until is not None and datetime.fromisoformat(until) > datetime.now(UTC)
    return f"in force, old secret until {_at(until)}" if overlaps else "in force"


def _issued(row: Mapping[str, Any]) -> Iterator[str]:
    yield from in_columns([HEAD, _row(row)])
    yield f"secret: {row['secret']}"
    if row["identity_secret"]:
        yield f"identity secret, for your server only: {row['identity_secret']}"
    yield "Store it now: it cannot be shown again."


def _revoked(row: Mapping[str, Any]) -> str:
    return f"{row['name']} ({row['id']}) is revoked"


def _at(instant: str) -> str:
    return f"{datetime.fromisoformat(instant):%Y-%m-%d %H:%M}"
