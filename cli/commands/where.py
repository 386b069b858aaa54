"""`python -m cli where`: journeys and timeline of one person or account."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

import typer

from cli.api_client import ApiError, KeyOption, UrlOption, remote
from cli.terminal import one_line_of

JOURNEYS: Final = ("journey", "state", "since", "next", "run")


def command(
    who: Annotated[str, typer.Argument(help="User id, anonymous id or account id.")],
    account: Annotated[bool, typer.Option("--account", help="WHO is an account.")] = False,
    lines: Annotated[int, typer.Option(min=1, help="Lines of the timeline to show.")] = 30,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Show journeys and timeline of a person or account, newest last, and which events are held."""
    kind: Literal["users", "accounts"] = "accounts" if account else "users"
    path = f"/v1/{kind}/{quote(who, safe='')}"
    try:
        with remote(url, key) as api:
            subject = api.get(path)
            runs = list(api.items(f"{path}/journeys"))
            timeline = [] if account else list(api.items(f"{path}/timeline", lines))
    except ApiError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    for line in (*_person(subject), "", *_journeys(runs), *_timeline(timeline), *_held(subject["held"])):
        typer.echo(one_line_of(line))


def _person(subject: dict[str, Any]) -> Iterator[str]:
    names = ", ".join(f"{identity['kind']} {identity['value']}" for identity in subject["identities"])
    yield f"{subject['kind']} {subject['key']}: {names}" + (
        f"; account {subject['account']}" * bool(subject["account"])
    )
    if subject["profile"]:
        yield ", ".join(f"{name}={value}" for name, value in sorted(subject["profile"].items()))


def _journeys(runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not runs:
        yield "in no journey yet"
        return
    yield from in_columns([JOURNEYS, *(_run(run) for run in runs)])


def _run(run: dict[str, Any]) -> tuple[str, ...]:
    case = f" {run['case']}" if run["case"] else ""
    state = run["state"] or "-"
    if run["status"] == "closed":
        state = f"ended: {run['outcome'] or state}"
    elif run["paused"]:
        state += " (paused)"
    since = run["ended_at"] or run["entered_at"] or run["started_at"]
    return f"{run['journey']}{case} v{run['version'] or '?'}", state, _day(since), _day(run["next_due_at"]), run["id"]


def _timeline(lines: Sequence[dict[str, Any]]) -> Iterator[str]:
    if lines:
        yield ""
        newest_last = reversed(lines)
        yield from in_columns([(_day(line["at"]), line["kind"], line["about"], line["text"]) for line in newest_last])


def _held(held: dict[str, Any]) -> Iterator[str]:
    if held["count"]:
        yield ""
        yield f"{held['text']}. `python -m cli quarantine` explains and replays held events."


def _day(instant: str | None) -> str:
    return f"{datetime.fromisoformat(instant):%Y-%m-%d %H:%M}" if instant else "-"


def in_columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Rows as lines, each column as wide as its widest cell."""
    if not rows:
        return
    rows = [tuple(map(one_line_of, row)) for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
