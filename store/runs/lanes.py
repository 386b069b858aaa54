"""Runs by lane: past runs for entry, new runs, and subscriptions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, false, func, literal, select, true, union_all, update
from sqlalchemy.dialects.postgresql import insert

from journeys.decision.chart import Chart
from journeys.language.actions import PRIORITIES
from journeys.protocol.routing import RunSubscription
from store.database import Connection, execute, fetch_all, sql
from store.expressions import any_of, unnest
from store.schema import runs

_open_runs = select(
    runs.c.lane,
    runs.c.id,
    runs.c.journey,
    runs.c.definition,
    runs.c.case_key,
    runs.c.epoch,
    true().label("open"),
    runs.c.ended_at,
).where(any_of(runs.c.lane, "lanes"), runs.c.status == "open")
_ended_runs = (
    select(
        runs.c.lane,
        literal(""),
        runs.c.journey,
        literal(""),
        runs.c.case_key,
        func.max(runs.c.epoch),
        false(),
        func.max(runs.c.ended_at),
    )
    .where(any_of(runs.c.lane, "lanes"), runs.c.status != "open")
    .group_by(runs.c.lane, runs.c.journey, runs.c.case_key)
)
_OF_LANES = sql(union_all(_open_runs, _ended_runs))
_INSERT = sql(
    insert(runs).from_select(
        [
            "id",
            "journey",
            "definition",
            "priority",
            "subject_key",
            "case_key",
            "epoch",
            "lane",
            "entered_seq",
            "clock",
            "started_at",
        ],
        select(
            unnest(
                "given",
                ids=runs.c.id,
                journeys=runs.c.journey,
                definitions=runs.c.definition,
                priorities=runs.c.priority,
                subjects=runs.c.subject_key,
                cases=runs.c.case_key,
                epochs=runs.c.epoch,
                lanes=runs.c.lane,
                seqs=runs.c.entered_seq,
                clocks=runs.c.clock,
                ats=runs.c.started_at,
            )
        ),
    )
)
_MOVE = sql(
    update(runs)
    .where(runs.c.lane == bindparam("gone"))
    .values(lane=bindparam("into"), joined_seq=bindparam("seq"), compared_seq=0)
)
LISTENING = (
    runs.c.id,
    runs.c.number,
    runs.c.definition,
    runs.c.lane,
    runs.c.entered_seq,
    runs.c.joined_seq,
    runs.c.case_key,
    runs.c.clock,
    runs.c.subject_key,
    runs.c.started_at,
    runs.c.priority,
    (runs.c.step > 0).label("resumes"),
)
"""The columns of a run that a signal to it needs."""
_LISTENERS = sql(
    union_all(
        select(*LISTENING, runs.c.lane.label("receives")).where(runs.c.status == "open", any_of(runs.c.lane, "lanes")),
        select(*LISTENING, runs.c.subject_key).where(
            runs.c.status == "open", runs.c.lane != runs.c.subject_key, any_of(runs.c.subject_key, "lanes")
        ),
    )
)
_DEFINITIONS = sql(
    select(runs.c.lane, runs.c.definition).distinct().where(any_of(runs.c.lane, "lanes"), runs.c.status == "open")
)


@dataclass(slots=True)
class LaneRun:
    """An open run of a lane, or what entry reads of all ended runs of its journey and case."""

    id: str
    chart_hash: str
    case: str
    epoch: int
    open: bool
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run that an event opens. `seq` is the first row of its lane that it receives; the lane is its subject's."""

    id: str
    chart: Chart
    subject_key: str
    case: str
    epoch: int
    seq: int
    clock: str | None
    at: datetime


async def runs_of_lanes(
    connection: Connection, lanes: Iterable[str]
) -> dict[str, dict[tuple[str, str], list[LaneRun]]]:
    """Runs by lane, then by journey and case: a merge may leave several open of one case."""
    by_lane: dict[str, dict[tuple[str, str], list[LaneRun]]] = {lane: {} for lane in lanes}
    for row in await fetch_all(connection, _OF_LANES, lanes=sorted(by_lane)) if by_lane else ():
        run = LaneRun(*(row[name] for name in ("id", "definition", "case_key", "epoch", "open", "ended_at")))
        by_lane[row["lane"]].setdefault((row["journey"], row["case_key"]), []).append(run)
    return by_lane


async def insert_runs(connection: Connection, new: Sequence[NewRun]) -> None:
    """Insert runs in one statement; their subjects are locked."""
    if new:
        await execute(
            connection,
            _INSERT,
            ids=[run.id for run in new],
            journeys=[run.chart.key for run in new],
            definitions=[run.chart.hash for run in new],
            priorities=[PRIORITIES.index(run.chart.priority) for run in new],
            subjects=[run.subject_key for run in new],
            cases=[run.case for run in new],
            epochs=[run.epoch for run in new],
            lanes=[run.subject_key for run in new],
            seqs=[run.seq for run in new],
            clocks=[run.clock for run in new],
            ats=[run.at for run in new],
        )


def listener_in(row: Mapping[str, Any]) -> RunSubscription:
    """The subscription of a row of `listeners_of`."""
    names = ("id", "lane", "entered_seq", "case_key", "subject_key", "joined_seq", "started_at")
    return RunSubscription(*(row[name] for name in names))


async def move_to(connection: Connection, gone: str, into: str, *, joined_seq: int) -> None:
    """Move the runs of a visitor's lane to the user's, from `joined_seq` on."""
    await execute(connection, _MOVE, gone=gone, into=into, seq=joined_seq)


async def listeners_of(connection: Connection, recipients: Sequence[str]) -> dict[str, list[Mapping[str, Any]]]:
    """By recipient, the open runs that receive its rows: its own, and those that began in it."""
    listening: dict[str, list[Mapping[str, Any]]] = {recipient: [] for recipient in recipients}
    for row in await fetch_all(connection, _LISTENERS, lanes=list(recipients)):
        listening[row["receives"]].append(row)
    return listening


async def definitions_of_lanes(connection: Connection, lanes: Sequence[str]) -> dict[str, set[str]]:
    """By lane, the definitions of its open runs."""
    found: dict[str, set[str]] = {lane: set() for lane in lanes}
    for row in await fetch_all(connection, _DEFINITIONS, lanes=list(lanes)):
        found[row["lane"]].add(row["definition"])
    return found
