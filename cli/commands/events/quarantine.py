"""`python -m cli quarantine`: list, explain, replay and discard held events through the API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import quote

import orjson
import typer

from cli.api_client import ApiClient, ApiError, KeyOption, RefusedByApi, UrlOption, remote
from cli.commands.where import in_columns
from cli.terminal import one_line_of

NAMES_HEAD: Final = ("held", "name", "first", "last")
HEAD: Final = ("event", "received", "name", "from", "why")


@dataclass(slots=True)
class Output:
    """The lines of a command, and whether an event was refused."""

    lines: list[str] = field(default_factory=list)
    is_refused: bool = False


def command(
    number: Annotated[int | None, typer.Argument(help="Number of one event: explain or settle it.")] = None,
    replay: Annotated[bool, typer.Option("--replay", help="Read the event again, as if it arrived now.")] = False,
    discard: Annotated[bool, typer.Option("--discard", help="Never accept the event. It stays listed.")] = False,
    name: Annotated[str | None, typer.Option(help="List the events of this name, or settle all of them.")] = None,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Count held events by name, list those of one name, explain one with its faults, replay or discard."""
    settles = replay or discard
    if (
        (replay and discard)
        or (number is not None and name is not None)
        or (settles and number is None and name is None)
    ):
        raise typer.BadParameter("give --replay or --discard with an event's number or with --name")
    try:
        with remote(url, key) as api:
            output = (
                _settle(api, "replay" if replay else "discard", number, name) if settles else _show(api, number, name)
            )
    except ApiError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    for line in output.lines:
        typer.echo(one_line_of(line))
    if output.is_refused:
        raise typer.Exit(1)


def _show(api: ApiClient, number: int | None, name: str | None) -> Output:
    if number is not None:
        return Output(list(_one(api.get(f"/v1/quarantine/{number}"))))
    if name is not None:
        return Output(list(_list(list(api.items("/v1/quarantine", None, name=name)))))
    return Output(list(_names(api.get("/v1/quarantine/names")["items"])))


def _settle(api: ApiClient, verb: str, number: int | None, name: str | None) -> Output:
    if number is None and verb == "replay":
        return _replay_all(api, name or "")
    output = Output()
    items = api.items("/v1/quarantine", None, name=name or "") if number is None else ()
    for identity in [number] if number is not None else [item["id"] for item in items]:
        try:
            item = api.post(f"/v1/quarantine/{identity}/{verb}", {})
            output.lines.append(f"{identity}: {item['name']} is {item['status']}")
        except RefusedByApi as error:
            output.is_refused = True
            output.lines.append("; ".join([f"{identity}: {error}", *(problem.what for problem in error.problems)]))
    return output


def _replay_all(api: ApiClient, name: str) -> Output:
    replayed, held, query = 0, 0, f"name={quote(name, safe='')}"
    cursor = None
    while True:
        result = api.post(f"/v1/quarantine:replay?{query}" + (f"&cursor={cursor}" if cursor else ""), {})
        replayed, held, cursor = replayed + result["replayed"], held + result["still_held"], result["next"]
        if cursor is None:
            break
    return Output([f"{name}: {replayed} replayed, {held} still held"], is_refused=held > 0)


def _names(items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not items:
        yield "nothing is held"
        return
    rows = [(str(item["held"]), item["name"], _at(item["first_at"]), _at(item["last_at"])) for item in items]
    yield from in_columns([NAMES_HEAD, *rows])


def _list(items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from in_columns([HEAD, *(_row(item) for item in items)]) if items else ["no event of this name is held"]


def _row(item: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(item["id"]), _at(item["received_at"]), item["name"], f"{item['source']} by key {item['key_id']}",
        "; ".join(item["faults"]),
    )  # fmt: skip


def _one(item: Mapping[str, Any]) -> Iterator[str]:
    yield from in_columns([HEAD[:4], _row(item)[:4]])
    yield item["status"] + (f" since {_at(item['settled_at'])}" if item["settled_at"] else "")
    yield from (f"  {fault}" for fault in item["faults"])
    yield orjson.dumps(item["event"], option=orjson.OPT_SORT_KEYS).decode()


def _at(instant: str) -> str:
    return f"{datetime.fromisoformat(instant):%Y-%m-%d %H:%M}"
