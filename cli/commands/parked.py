"""`python -m cli parked`: list, replay and discard parked rows through the API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import typer

from cli.api_client import ApiError, KeyOption, RefusedByApi, UrlOption, remote
from cli.commands.where import in_columns
from cli.terminal import one_line_of

HEAD: Final = ("row", "parked", "run", "what", "of", "why")


def command(
    number: Annotated[int | None, typer.Argument(help="Number of one row, with --replay or --discard.")] = None,
    replay: Annotated[bool, typer.Option("--replay", help="Deliver the row now, late, to its run.")] = False,
    discard: Annotated[bool, typer.Option("--discard", help="Never deliver the row.")] = False,
    every: Annotated[bool, typer.Option("--all", help="With --replay or --discard: all rows that are held.")] = False,
    run: Annotated[str | None, typer.Option(help="Only rows of this run.")] = None,
    by: Annotated[str | None, typer.Option(help="Your name; recorded before the key's name.")] = None,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """List rows that could not be delivered to their runs, replay or discard them."""
    settles = replay or discard
    if (replay and discard) or settles != (every or number is not None) or (every and number is not None):
        raise typer.BadParameter(
            "give --replay or --discard with a row's number or --all; without them the rows are listed"
        )
    verb = "replay" if replay else "discard"
    refused = 0
    try:
        with remote(url, key) as api:
            held = list(api.items("/v1/parked", None, **({"run": run} if run else {}))) if number is None else []
            lines = [] if settles else list(_list(held))
            for row in [number] if number is not None else [item["id"] for item in held] if settles else []:
                try:
                    lines.append(_settled(api.post(f"/v1/parked/{row}/{verb}", {"by": by})))
                except RefusedByApi as error:
                    refused += 1
                    lines.append(f"{row}: {error}")
    except ApiError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    for line in lines:
        typer.echo(one_line_of(line))
    if refused:
        raise typer.Exit(1)


def _list(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if rows:
        yield from in_columns([HEAD, *(_row(row) for row in rows)])
    else:
        yield "no parked rows"


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    what = row["name"] or row["kind"]
    return (str(row["id"]), _at(row["parked_at"]), row["run"] or row["recipient"], what, _at(row["at"]), row["reason"])


def _settled(row: Mapping[str, Any]) -> str:
    place = f", as number {row['replayed_seq']} of its lane" if row["replayed_seq"] else ""
    return f"{row['id']}: {row['name'] or row['kind']} for {row['run'] or row['recipient']} is {row['status']}{place}"


def _at(instant: str) -> str:
    return f"{datetime.fromisoformat(instant):%Y-%m-%d %H:%M}"
