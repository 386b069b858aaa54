"""One run for a test: a journey in YAML, times in days from entry, and the decisions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from journeys.decision.chart import Chart
from journeys.decision.compiler import compile_chart
from journeys.decision.decide import decide
from journeys.decision.effects import Decision, LogLine
from journeys.decision.occurrences import (
    Entered,
    Facts,
    FieldsChanged,
    Occurrence,
    Paused,
    Resumed,
    ResumeMode,
    Signal,
    TimerDue,
)
from journeys.decision.state import RunState
from journeys.language.parsing import read_journey

START = datetime(2024, 1, 1, tzinfo=UTC)

TYPES = {
    "profile.plan": "string",
    "profile.fit": "double",
    "profile.rhythm": "double",
    "profile.trial_ends": "timestamp",
    "account.renewal_date": "timestamp",
    "event.step_done.step": "string",
    "event.step_done.count": "int",
    "event.booked.starts": "timestamp",
    "event.order.order_id": "string",
    "event.order.total": "double",
    "event.order.items": "strings",
    "event.call.closed.outcome": "string",
}

HEAD = "journey: j\nentry: {on: begin}\ntopic: t\nstart: a\n"


def day(count: float) -> datetime:
    """The instant this many days after entry."""
    return START + timedelta(days=count)


def chart(text: str, types: Mapping[str, str] = TYPES) -> Chart:
    """A chart from YAML; a text without `journey:` gets the minimal head."""
    spec, source = read_journey(text if "journey:" in text else HEAD + text)
    assert spec is not None, source.problems
    return compile_chart(spec, types)


class Play:
    """One run. Each call makes one decision: `last`. `log` and `effects` contain those of all decisions."""

    def __init__(self, text: str, *, enter: bool = True, facts: Facts | None = None, **data: Any) -> None:
        self.chart, self.state = chart(text), RunState()
        self.log: list[LogLine] = []
        self.effects: list[Any] = []
        self.last = Decision(self.state)
        if enter:
            self.do(Entered(day(0), "begin", data, facts))

    def do(self, occurrence: Occurrence) -> Play:
        self.last = decide(self.chart, self.state, occurrence)
        self.state = self.last.state
        self.log += self.last.log
        self.effects += self.last.effects
        return self

    def signal(self, at: float, name: str, *, facts: Facts | None = None, **data: Any) -> Play:
        return self.do(Signal(day(at), name, data, facts))

    def facts(self, at: float, **profile: Any) -> Play:
        return self.do(FieldsChanged(day(at), {"profile": profile}))

    def renewal(self, at: float, date: float | None) -> Play:
        return self.do(
            FieldsChanged(day(at), {"account": {} if date is None else {"renewal_date": day(date).isoformat()}})
        )

    def wait(self, until: float) -> Play:
        """Fire every timer due by this day, each at its own instant."""
        while (due := self.state.next_due()) is not None and due <= day(until):
            self.do(TimerDue(due))
        return self

    def pause(self, at: float) -> Play:
        return self.do(Paused(day(at), "ops"))

    def resume(self, at: float, mode: ResumeMode = "shift") -> Play:
        return self.do(Resumed(day(at), mode))

    @property
    def did(self) -> tuple[Any, ...]:
        """The effects of the last decision."""
        return self.last.effects

    @property
    def sent(self) -> list[tuple[str, float]]:
        """The messages requested so far, each with its day."""
        return [(e.template, (e.at - START) / timedelta(days=1)) for e in self.effects if e.kind == "send"]

    def kinds(self) -> list[str]:
        """The kinds of the last decision's effects."""
        return [effect.kind for effect in self.did]

    def says(self, words: str) -> bool:
        """Whether a line of the log contains these words."""
        return any(words in line.text for line in self.log)
