"""Lanes in memory: rows that wait, and the agenda of due instants (record 0016).

A row has one recipient, as in the outbox. Rows are delivered in the order in which they were written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from datetime import datetime
from heapq import heappop, heappush
from itertools import count
from typing import Any, Final, Literal

from journeys.decision.entry import case_of
from journeys.decision.occurrences import (
    DeadlineSet,
    Entered,
    FieldsChanged,
    Merged,
    Occurrence,
    OptedOut,
    Signal,
)
from journeys.simulation.subjects import RowFacts, SimulatedRun, SimulatedSubject
from journeys.simulation.timeline import Scenario

RowKind = Literal["signal", "facts", "deadline", "opted_out", "merged"]
MAX_CAUSED_ROWS: Final = 1_000
"""Rows that one event may cause in a lane before the rest are dropped: journeys may react to each other without end."""
RUN, MESSAGE, TASK = 0, 1, 2
"""Ranks of what is due at one instant: runs before messages before tasks."""
Due = tuple[datetime, int, int, int, Any]
"""Instant, rank, number within the rank, place of the entry, and what is due."""


class Row:
    """One occurrence in a lane; `target` is the one run that it is for, if only one."""

    __slots__ = ("at", "data", "due_at", "facts", "kind", "name", "number", "subject", "target")

    def __init__(
        self,
        number: int,
        subject: SimulatedSubject,
        kind: RowKind,
        name: str,
        at: datetime,
        data: Mapping[str, Any],
        facts: RowFacts | None,
        target: SimulatedRun | None = None,
        due_at: datetime | None = None,
    ) -> None:
        self.number, self.subject, self.kind, self.name, self.at = number, subject, kind, name, at
        self.data, self.facts, self.target, self.due_at = data, facts, target, due_at


class Agenda:
    """What falls due, the earliest first; an entry that is no longer true is left out by whoever takes it."""

    def __init__(self) -> None:
        self.entries: list[Due] = []
        self._places = count()

    def add(self, at: datetime, rank: int, number: int, item: object) -> None:
        heappush(self.entries, (at, rank, number, next(self._places), item))

    def take(self) -> Due:
        return heappop(self.entries)


class Lanes:
    """The rows of all lanes that have not been delivered, in one order."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.rows: deque[Row] = deque()
        self.last_number = 0
        self._caused: dict[SimulatedSubject, int] = {}

    def begin(self) -> None:
        """Begin to count caused rows: with each event from outside, and with each instant."""
        if self._caused:
            self._caused = {}

    def add(
        self,
        subject: SimulatedSubject,
        kind: RowKind,
        name: str,
        at: datetime,
        data: Mapping[str, Any],
        facts: RowFacts | None,
        *,
        target: SimulatedRun | None = None,
        due_at: datetime | None = None,
    ) -> Row:
        """Write a row. Rows past `MAX_CAUSED_ROWS` of one lane are numbered and dropped."""
        self.last_number += 1
        row = Row(self.last_number, subject, kind, name, at, data, facts, target, due_at)
        caused = self._caused.get(subject, 0) + 1
        self._caused[subject] = caused
        if caused <= MAX_CAUSED_ROWS:
            self.rows.append(row)
        return row

    def derive(self, run: SimulatedRun, name: str, data: Mapping[str, Any], at: datetime) -> None:
        """Signal to one run what became of an action of its own, if it is open and its chart reads that."""
        if name in run.chart.signals and run.is_open:
            self.add(run.subject, "signal", name, at, data, None, target=run)

    def copy(self, row: Row, kind: Literal["signal", "facts"]) -> None:
        """Copy an account's row into the lanes of its members who have an open run, with fields of theirs (record 0015)."""
        for member in row.subject.followers:
            if member.open:
                facts = {"profile": member.profile, **(row.facts or {})}
                self.add(member, kind, row.name if kind == "signal" else "", row.at, row.data, facts)

    def waiting_for(self, run: SimulatedRun) -> Iterator[Occurrence]:
        """The occurrences that wait for a run, in order."""
        for row in self.rows:
            if row.subject is run.subject:
                occurrence = occurrence_for(run, row, row.facts)
                if occurrence is not None:
                    yield occurrence


def occurrence_for(run: SimulatedRun, row: Row, facts: RowFacts | None) -> Occurrence | None:
    """A row as a run receives it, with the fields of the lane as of it; None if it cannot change the run."""
    chart, target = run.chart, row.target
    if row.number < run.entered or target not in (None, run):
        return None
    if target is not None:
        return _targeted(run, row)
    if facts is run.facts:
        facts = None
    if row.number == run.entered:
        return Entered(row.at, row.name, chart.kept(row.name, row.data), facts)
    if row.kind == "signal" and row.name in chart.signals and case_of(chart, row.data) == run.case:
        return Signal(row.at, row.name, chart.kept(row.name, row.data), facts)
    if facts is None and row.facts is not None and _decides_due_timers(run, row.facts, row.at):
        facts = row.facts
    return None if facts is None else FieldsChanged(row.at, facts)


def _decides_due_timers(run: SimulatedRun, facts: RowFacts, at: datetime) -> bool:
    """Whether fields that have not changed reach a run all the same: its timers follow fields, and those that are due are decided before."""
    chart = run.chart
    return (
        run.due is not None and run.due <= at and chart.follows_fields and any(chart.fields[scope] for scope in facts)
    )


def _targeted(run: SimulatedRun, row: Row) -> Occurrence:
    match row.kind:
        case "deadline":
            assert row.due_at is not None
            return DeadlineSet(row.at, row.name, str(row.data["request"]), row.due_at)
        case "opted_out":
            return OptedOut(row.at)
        case "merged":
            return Merged(row.at)
        case "signal" | "facts":
            return Signal(row.at, row.name, run.chart.kept(row.name, row.data))
