"""`python -m cli import`: send recorded events as history.

They build profiles, counters and consents; they open no journey and send nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from cli.api_client import ApiClient, ApiError, RefusedByApi, UrlOption, remote
from cli.terminal import one_line_of
from cli.trial import records_in
from journeys.events.history import HISTORICAL
from worker.settings import load_settings

EVENTS_AT_ONCE: Final = 500
BYTES_AT_ONCE: Final = 400_000
"""Of one request, below the API's limit of 500 KB."""
BUSY: Final = frozenset({429, 503})
ATTEMPTS: Final = 8
LISTED: Final = 20
"""Quarantined events that are listed with their faults."""


@dataclass(slots=True)
class Imported:
    """Counts of an import; `faults` are those of the first quarantined events."""

    accepted: int = 0
    duplicates: int = 0
    quarantined: int = 0
    faults: list[str] = field(default_factory=list)


def command(
    file: Annotated[
        Path, typer.Argument(exists=True, help="JSON lines of Segment calls, or a CSV file with a header.")
    ],
    event: Annotated[
        str | None, typer.Option(help="Event of every row of a CSV file without a column `event`.")
    ] = None,
    url: UrlOption = None,
    key: Annotated[str | None, typer.Option("--key", help="A secret key for events [TENURE_WRITE_KEY].")] = None,
) -> None:
    """Send recorded events as history: they build profiles, open no journey and send nothing. It can be repeated."""
    done = Imported()
    try:
        with remote(url, key or load_settings().write_key.get_secret_value()) as api:
            for numbers, batch in batches_of(calls_in(file, event)):
                _add(done, _sent(api, batch), numbers)
    except ApiError as error:
        typer.echo(f"{error} {_summary(done)} until then; repeat the command to go on.", err=True)
        raise typer.Exit(1) from None
    for line in done.faults:
        typer.echo(one_line_of(line), err=True)
    typer.echo(_summary(done))


def calls_in(file: Path, event: str | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The calls of a file with the numbers of their lines, each told as history.

    A call without `messageId` gets one of its line, so a repeated import changes nothing.
    """
    for number, row in records_in(file, event):
        call = {name: value for name, value in row.items() if value is not None}
        call.setdefault("type", "track")
        given = call.get("context")
        context = {**(given if isinstance(given, Mapping) else {}), HISTORICAL: True}
        if call["type"] != "group" and "groupId" in call:
            context["groupId"] = call.pop("groupId")
        call["context"] = context
        written = orjson.dumps([number, row], option=orjson.OPT_SORT_KEYS)
        call.setdefault("messageId", f"import-{hashlib.sha256(written).hexdigest()[:40]}")
        yield number, call


def batches_of(calls: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[tuple[list[int], list[dict[str, Any]]]]:
    """The calls in requests that the API accepts, each with the numbers of its lines."""
    numbers, batch, size = list[int](), list[dict[str, Any]](), 0
    for number, call in calls:
        more = len(orjson.dumps(call))
        if batch and (len(batch) == EVENTS_AT_ONCE or size + more > BYTES_AT_ONCE):
            yield numbers, batch
            numbers, batch, size = [], [], 0
        numbers.append(number)
        batch.append(call)
        size += more
    if batch:
        yield numbers, batch


def _sent(api: ApiClient, batch: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The answer to a batch; while the API is busy it is sent again, after twice the time."""
    for attempt in range(ATTEMPTS):
        try:
            answer: Mapping[str, Any] = api.post("/v1/batch", {"batch": batch})
        except RefusedByApi as refused:
            if refused.status not in BUSY or attempt == ATTEMPTS - 1:
                raise
            time.sleep(0.5 * 2**attempt)
        else:
            return answer
    raise AssertionError("the last attempt answers or raises")


def _add(done: Imported, answer: Mapping[str, Any], numbers: Sequence[int]) -> None:
    done.accepted += answer["accepted"]
    done.duplicates += answer["duplicates"]
    done.quarantined += answer["quarantined"]
    for error in answer.get("errors", ())[: LISTED - len(done.faults)]:
        faults = "; ".join(fault["detail"] for fault in error["errors"])
        done.faults.append(f"line {numbers[error['index']]}: {faults}")


def _summary(done: Imported) -> str:
    return (
        f"{done.accepted:,} accepted as history, {done.duplicates:,} known already, {done.quarantined:,} in quarantine"
    )
