"""Input of `simulate` and `backtest`: journeys, tracking plan, policy and recorded events."""

from __future__ import annotations

import csv
import gc
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any, Final

import typer

from cli.demonstration.cdnow import OBSERVED_UNTIL, CdnowUnavailable, cdnow_file, cdnow_streams
from journeys.events.tracking_plan import TrackingPlan
from journeys.events.validation import EventTable
from journeys.simulation.backtest import Stream, streams_of
from journeys.simulation.recording import RecordedEvent, UnusableRecord, read_instant, read_recorded

CDNOW: Final = "cdnow"
_WHO: Final = ("userId", "user_id", "user", "customer_id", "customer", "person")
_ACCOUNT: Final = ("groupId", "group_id", "account_id")
BESIDE_SEGMENT: Final = frozenset({"consent", "operator"})
"""Types of records whose fields are their own, and neither properties nor traits."""
_WHEN: Final = ("timestamp", "at", "date", "time")


@dataclass(frozen=True, slots=True)
class Trial:
    """Groups with their events in order; `skipped` lists unusable records and traits with the reason.

    `reachable` are the channels that every person is assumed to have: e-mail only if the records contain no addresses.
    """

    streams: list[Stream]
    skipped: list[str]
    reachable: frozenset[str] = frozenset({"in_app"})


def read_events_file(source: str, plan: TrackingPlan, event: str | None = None, person: str | None = None) -> Trial:
    """Recorded events: JSON lines of Segment calls, a CSV file with a header, or the word `cdnow`.

    `event` names the event of every row of a CSV file that has no column for it; `person` selects the group of one person.
    """
    with _uncollected():
        return _only(_cdnow() if source == CDNOW else _file(source, plan, event), person)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection: searching a growing heap that holds no garbage takes half the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _file(source: str, plan: TrackingPlan, event: str | None) -> Trial:
    path = Path(source)
    if not path.exists():
        raise typer.BadParameter(f"{source} does not exist")
    events: list[RecordedEvent] = []
    skipped: list[str] = []
    for number, row in records_in(path, event):
        try:
            record = read_recorded(row, plan.events if _planned(row, plan.events) else None, plan.traits)
        except UnusableRecord as error:
            skipped.append(f"{path.name}:{number}: {error}")
        else:
            events.append(record)
            skipped += [f"{path.name}:{number}: {what}" for what in record.unread]
    reachable = frozenset({"in_app"} if _addressed(events) else {"in_app", "email"})
    return Trial(streams_of(events), skipped, reachable)


def records_in(path: Path, event: str | None) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The records of a file as Segment calls, with the numbers of their lines: JSON lines, or a CSV file with a header.

    `event` names the event of every row of a CSV file that has no column for it.
    """
    return _csv(path, event) if path.suffix.lower() == ".csv" else _json(path)


def until_instant(text: str | None, source: str) -> datetime | None:
    """The instant of `--until`, inclusive: a day means its end."""
    if text is None:
        return OBSERVED_UNTIL if source == CDNOW else None
    try:
        at = read_instant(text)
    except UnusableRecord as error:
        raise typer.BadParameter(str(error)) from None
    return datetime.combine(at.date(), time.max, UTC) if len(text) <= len("2026-05-03") else at


def _cdnow() -> Trial:
    try:
        return Trial(cdnow_streams(cdnow_file()), [])
    except CdnowUnavailable as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _only(trial: Trial, person: str | None) -> Trial:
    if person is None:
        return trial
    groups = [stream for stream in trial.streams if any(event.who == person for event in stream[1])]
    return Trial(groups, trial.skipped, trial.reachable)


def _addressed(events: Iterable[RecordedEvent]) -> bool:
    """Whether any record has a mail address."""
    return any(event.kind == "profile" and "email" in event.data for event in events)


def _planned(row: Mapping[str, Any], table: EventTable) -> bool:
    """Whether the plan knows the event. Unknown names are taken as they are, so that no plan is needed."""
    return row.get("event") in table.rules


def _json(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError as error:
                raise typer.BadParameter(f"{path}:{number}: not JSON: {error}") from None
            yield number, value if isinstance(value, dict) else {}


def _csv(path: Path, event: str | None) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        columns = reader.fieldnames or ()
        who, of, when = (next((name for name in names if name in columns), None) for names in (_WHO, _ACCOUNT, _WHEN))
        if (who is None and of is None) or when is None or ("event" not in columns and event is None):
            raise typer.BadParameter(
                f"{path} needs a column for the person ({', '.join(_WHO)}) or the account ({', '.join(_ACCOUNT)}), "
                f"one for the time ({', '.join(_WHEN)}), and a column `event` or the option --event"
            )
        for number, row in enumerate(reader, 2):
            rest = {name: _value(text) for name, text in row.items() if name not in (who, when, "event", "type")}
            names = {"userId": row[who] if who else None, "groupId": row[of] if of else None}
            call = {**names, "timestamp": row[when], "event": row.get("event") or event}
            kind = row.get("type") or "track"
            yield (
                number,
                {**call, "type": kind, "properties": rest, "traits": rest, **(rest if kind in BESIDE_SEGMENT else {})},
            )


def _value(text: Any) -> Any:
    """A cell as a number or truth value if it is one; None if it is empty."""
    if not isinstance(text, str) or not text:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float | bool) else text
