"""`python -m cli where`: one person's journeys and timeline, as the API tells them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

import typer

from cli.api_client import ApiError, KeyOption, UrlOption, remote

JOURNEYS: Final = ("journey", "state", "since", "next", "run")


def command(
    who: Annotated[str, typer.Argument(help="As senders name them: a user id or anonymous id; or an account's.")],
    account: Annotated[bool, typer.Option("--account", help="It is an account.")] = False,
    lines: Annotated[int, typer.Option(min=1, help="How much of the timeline to show.")] = 30,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Where somebody is in their journeys, and what happened to them and why, the newest last."""
    kind: Literal["users", "accounts"] = "accounts" if account else "users"
    path = f"/v1/{kind}/{quote(who, safe='')}"
    try:
        with remote(url, key) as api:
            subject = api.get(path)
            runs = list(api.items(f"{path}/journeys"))
            told = [] if account else list(api.items(f"{path}/timeline", lines))
    except ApiError as fault:
        typer.echo(str(fault), err=True)
        raise typer.Exit(1) from None
    for line in (*_person(subject), "", *_journeys(runs), *_timeline(told)):
        typer.echo(line)


def _person(subject: dict[str, Any]) -> Iterator[str]:
    names = ", ".join(f"{each['kind']} {each['value']}" for each in subject["identities"])
    yield f"{subject['kind']} {subject['key']}: {names}" + (
        f"; account {subject['account']}" * bool(subject["account"])
    )
    if subject["profile"]:
        yield ", ".join(f"{name}={value}" for name, value in sorted(subject["profile"].items()))


def _journeys(runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not runs:
        yield "in no journey so far"
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


def _timeline(told: Sequence[dict[str, Any]]) -> Iterator[str]:
    if told:
        yield ""
        newest_last = reversed(told)
        yield from in_columns([(_day(each["at"]), each["kind"], each["about"], each["text"]) for each in newest_last])


def _day(instant: str | None) -> str:
    return f"{datetime.fromisoformat(instant):%Y-%m-%d %H:%M}" if instant else "-"


def in_columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Rows as lines, each column as wide as its widest cell."""
    if not rows:
        return
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
