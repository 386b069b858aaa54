"""The working copy of a run's state during one turn: read fields, take notes, hand back a new frozen state."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from journeys.decision.chart import Chart, CompiledAction, StateNode
from journeys.decision.effects import Decision, Effect, LogKind, LogLine
from journeys.decision.occurrences import Facts, Occurrence
from journeys.decision.state import RunState, UnconsumedSignal


class RunDraft:
    """Mutable only here and only for one turn; containers that may be shared with the old state are replaced, not changed."""

    def __init__(self, chart: Chart, state: RunState) -> None:
        self.chart, self.before = chart, state
        self.state, self.visit, self.visits = state.state, state.visit, state.visits
        self.started_at, self.entered_at = state.started_at, state.entered_at
        self.last_at = self._at = state.last_at
        self.timers: dict[str, datetime] = dict(state.timers)
        self.fired, self.anchors, self.firings = state.fired, state.anchors, state.firings
        self.variables, self.facts, self.seqs = state.variables, state.facts, state.seqs
        self.missed: tuple[UnconsumedSignal, ...] = state.missed
        self.tasks, self.held = state.tasks, state.held
        self.paused_at, self.outcome = state.paused_at, state.outcome
        self.event: Mapping[str, Any] = {}
        self.refusal = ""
        self.item: Any = None
        self.effects: list[Effect] = []
        self.log: list[LogLine] = []

    @property
    def at(self) -> datetime:
        """The instant being decided: the only now."""
        assert self._at is not None
        return self._at

    @at.setter
    def at(self, value: datetime) -> None:
        self._at = self.last_at = value

    @property
    def is_open(self) -> bool:
        return self.outcome is None

    @property
    def here(self) -> StateNode:
        return self.chart.places[self.state]

    def see(self, occurrence: Occurrence) -> None:
        """Remember the lane's sequence number, so that a redelivery is recognised in O(1)."""
        seq = getattr(occurrence, "seq", 0)
        if seq > 0:
            self.seqs = {**self.seqs, getattr(occurrence, "lane", ""): seq}
        for lane, reached in getattr(occurrence, "seen", {}).items():
            self.seqs = {**self.seqs, lane: max(reached, self.seqs.get(lane, 0))}

    def lookup(self, field: str) -> Any:
        """The JSON value of a field of a condition, or None where it is not known."""
        scope, _, name = field.partition(".")
        match scope:
            case "event":
                return self.event.get(name)
            case "journey":
                return self.built_in(name)
            case "now":
                return self.at
            case "item":
                return self.item
            case _:
                return self.facts.get(field)

    def built_in(self, name: str) -> Any:
        match name:
            case "state":
                return self.state
            case "visits":
                return self.visit
            case "started_at":
                return self.started_at
            case "entered_at":
                return self.entered_at
            case _:
                return self.variables.get(name)

    def merge_facts(self, facts: Facts | None) -> bool:
        """Replace each scope that came with the fields this definition reads; whether any of them changed."""
        if facts is None:
            return False
        merged = {name: value for name, value in self.facts.items() if name.partition(".")[0] not in facts}
        for scope, values in facts.items():
            merged |= {f"{scope}.{name}": value for name, value in self.chart.known(scope, values).items()}
        changed = merged != self.facts
        if changed:
            self.facts = merged
        return changed

    def count(self, act: CompiledAction) -> int:
        """The n of this action's n-th firing in the visit."""
        self.firings = {**self.firings, act.name: self.firings.get(act.name, 0) + 1}
        return self.firings[act.name]

    def note(self, kind: LogKind, about: str, text: str) -> None:
        self.log.append(LogLine(self.at, kind, about, text))

    def decision(self) -> Decision:
        """Freeze what was decided."""
        state = RunState(
            self.state,
            self.visit,
            self.started_at,
            self.entered_at,
            self.last_at,
            self.visits,
            self.timers,
            self.fired,
            self.anchors,
            self.firings,
            self.variables,
            self.facts,
            self.seqs,
            self.missed,
            self.tasks,
            self.paused_at,
            self.held,
            self.outcome,
        )
        return Decision(state, tuple(self.effects), tuple(self.log))
