"""`python -m cli tasks`: list, show and close tasks through the API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import typer

from cli.api_client import ApiError, KeyOption, RefusedByApi, UrlOption, remote
from cli.commands.where import in_columns
from cli.terminal import one_line_of
from journeys.tasks.context_summary import context_lines

HEAD: Final = ("task", "what", "for", "owner", "due", "since", "why")


def command(
    number: Annotated[int | None, typer.Argument(help="Number of one task; with --close it is closed.")] = None,
    owner: Annotated[str | None, typer.Option(help="Tasks of one person, or of a team's queue.")] = None,
    team: Annotated[str | None, typer.Option(help="Tasks of all members of a team.")] = None,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only tasks past their deadline.")] = False,
    close: Annotated[str | None, typer.Option(help="Close the task with this outcome.")] = None,
    note: Annotated[str, typer.Option(help="Note for the task's log.")] = "",
    by: Annotated[
        str | None, typer.Option(help="Name of the person who closes it; recorded before the key's name.")
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """List open tasks, show one with its log, or close it."""
    if close is not None and number is None:
        raise typer.BadParameter("--close needs the task's number")
    query = {"status": "open", "owner": owner, "team": team, "overdue": "true" if overdue else None}
    try:
        with remote(url, key) as api:
            if close is not None:
                api.post(f"/v1/tasks/{number}/close", {"resolution": close, "by": by, "note": note})
            if number is None:
                lines = list(_list(api.items("/v1/tasks", None, **{k: v for k, v in query.items() if v is not None})))
            else:
                lines = list(_one(api.get(f"/v1/tasks/{number}"), list(api.items(f"/v1/tasks/{number}/log"))))
    except ApiError as error:
        reasons = [problem.what for problem in error.problems] if isinstance(error, RefusedByApi) else []
        typer.echo("; ".join([str(error), *reasons]), err=True)
        raise typer.Exit(1) from None
    for line in lines:
        typer.echo(one_line_of(line))


def _list(tasks: Iterator[Mapping[str, Any]]) -> Iterator[str]:
    rows = [_row(task) for task in tasks]
    if rows:
        yield from in_columns([HEAD, *rows])
    else:
        yield "no open tasks"


def _row(task: Mapping[str, Any]) -> tuple[str, ...]:
    due = _at(task["due_at"]) + " late" * bool(task["overdue"])
    about = task["account"] or task["subject"]
    return (
        str(task["id"]),
        task["reason"] or task["task"],
        about,
        task["owner"],
        due,
        _at(task["opened_at"]),
        task["why"],
    )


def _one(task: Mapping[str, Any], log: list[Mapping[str, Any]]) -> Iterator[str]:
    yield from in_columns([HEAD, _row(task)])
    yield f"{task['status']}" + (f": {task['resolution']}" if task["resolution"] else "")
    if task["outcomes"] and task["status"] == "open":
        yield f"outcomes: {', '.join(task['outcomes'])}"
    for name, value in sorted(task["data"].items()):
        yield f"  {name}: {value}"
    yield from context_lines(task["context"], task["reason"])
    yield from in_columns([(_at(line["at"]), line["by"], line["kind"], line["text"]) for line in log])


def _at(instant: str | None) -> str:
    return f"{datetime.fromisoformat(instant):%Y-%m-%d %H:%M}" if instant else "-"
