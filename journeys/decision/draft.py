"""RunDraft: the mutable copy of a run's state during one decision.

Its containers may be shared with the frozen state: they are replaced, never changed. Only `timers` is a copy of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime
from operator import attrgetter
from typing import Any

from journeys.decision.chart import Chart, CompiledAction, StateNode
from journeys.decision.effects import (
    ClosedTask,
    Decision,
    Effect,
    Finished,
    LogKind,
    LogLine,
    SendMessage,
    WithdrawnMessages,
    effects_from_json,
    effects_to_json,
)
from journeys.decision.held import hold
from journeys.decision.occurrences import Facts, LaneOccurrence
from journeys.decision.state import RunState
from journeys.language.conditions import Condition

MOST_EFFECTS = 100
"""Effects of one decision, and so of one step; what exceeds them is `waiting` for the steps that follow at once.

A step has ten seconds (`workflows/limits.py`), and its messages are decided in one transaction. A run that resumes, or that
catches up after months, may have thousands.
"""
SUPERSEDED = "the run is paused, and holds a newer one of this action"
_state_values = attrgetter(*[field.name for field in fields(RunState)])
"""The values of a `RunState` in the order of its constructor, read by name from whatever has its fields."""


class RunDraft:
    """The fields of `RunState` by their names, the effects and log of this decision, and what conditions read.

    `event` is the data of the signal being decided, `item` the value of `for_each` being emitted.
    """

    def __init__(self, chart: Chart, before: RunState) -> None:
        self.chart = chart
        self.state = before.state
        self.visit = before.visit
        self.started_at = before.started_at
        self.entered_at = before.entered_at
        self.last_at = before.last_at
        self.visits = before.visits
        self.timers = dict(before.timers)
        self.fired = before.fired
        self.anchors = before.anchors
        self.firings = before.firings
        self.variables = before.variables
        self.facts = before.facts
        self.seqs = before.seqs
        self.missed = before.missed
        self.tasks = before.tasks
        self.paused_at = before.paused_at
        self.held = before.held
        self.waiting = before.waiting
        self.outcome = before.outcome
        self.event: Mapping[str, Any] = {}
        self.item: Any = None
        self.effects: list[Effect] = []
        self.log: list[LogLine] = []

    @property
    def at(self) -> datetime:
        """The instant being decided: the only now of a decision."""
        assert self.last_at is not None
        return self.last_at

    @property
    def is_open(self) -> bool:
        return self.outcome is None

    @property
    def node(self) -> StateNode:
        """The state that the run is in."""
        return self.chart.states[self.state]

    # -- values of conditions ------------------------------------------------------------------------------------

    def lookup(self, field: str) -> Any:
        """The JSON value of a field of a condition, or None where it is not known."""
        scope, _, name = field.partition(".")
        match scope:
            case "event":
                return self.event.get(name)
            case "journey":
                return self._journey_field(name)
            case "now":
                return self.at
            case "item":
                return self.item
            case _:
                return self.facts.get(field)

    def _journey_field(self, name: str) -> Any:
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

    def allows(self, guard: Condition | None) -> tuple[bool, str]:
        """Whether a guard is true now; if not, the reason."""
        return (True, "") if guard is None else guard.holds(self.lookup)

    # -- sequence numbers and fields of an occurrence ------------------------------------------------------------

    def mark_seen(self, occurrence: LaneOccurrence) -> None:
        """Remember the lane's sequence number, so that a redelivery is recognised in O(1)."""
        if occurrence.seq > 0:
            self.seqs = {**self.seqs, occurrence.lane: occurrence.seq}
        for lane, seq in occurrence.seen.items():
            self.seqs = {**self.seqs, lane: max(seq, self.seqs.get(lane, 0))}

    def merge_facts(self, facts: Facts | None) -> bool:
        """Replace the known fields of each scope given by those that the definition reads; whether any changed."""
        if facts is None:
            return False
        scopes = tuple([f"{scope}." for scope in facts])
        merged = {name: value for name, value in self.facts.items() if not name.startswith(scopes)}
        for scope, values in facts.items():
            read = self.chart.fields.get(scope, ())
            for name, value in values.items():
                if value is not None and name in read:
                    merged[f"{scope}.{name}"] = value
        changed = merged != self.facts
        if changed:
            self.facts = merged
        return changed

    # -- effects and log -----------------------------------------------------------------------------------------

    def count(self, action: CompiledAction) -> int:
        """Count a firing of an action; its number in this visit, from 1."""
        self.firings = {**self.firings, action.name: self.firings.get(action.name, 0) + 1}
        return self.firings[action.name]

    def note(self, kind: LogKind, about: str, text: str) -> None:
        """Add a line to the log at the instant being decided."""
        self.log.append(LogLine(self.at, kind, about, text))

    def emit(self, effect: Effect) -> None:
        """Add an effect; a paused run holds it, unless it only withdraws, closes or finishes.

        Behind effects that wait for a step, and beyond `MOST_EFFECTS`, it waits too, so that their order stays.
        """
        if isinstance(effect, Finished | WithdrawnMessages | ClosedTask):
            self.effects.append(effect)
        elif self.paused_at is not None:
            self._hold(effect)
        elif self.waiting or len(self.effects) >= MOST_EFFECTS:
            self.waiting = (*self.waiting, *effects_to_json((effect,)))
        else:
            self.effects.append(effect)

    def release_slice(self) -> None:
        """Add the effects that have waited longest for a step; none in a pause."""
        if self.waiting and self.paused_at is None:
            slice_, self.waiting = self.waiting[:MOST_EFFECTS], self.waiting[MOST_EFFECTS:]
            self.effects += effects_from_json(list(slice_))

    def _hold(self, effect: Effect) -> None:
        self.held, superseded = hold(self.held, effects_to_json((effect,)))
        self.note("held", effect.kind, f"{effect.kind} held while paused")
        for older in effects_from_json(list(superseded)):
            if isinstance(older, SendMessage):
                self.effects.append(replace(older, withheld=SUPERSEDED))
            else:
                self.note("held", older.kind, f"{older.kind} withheld: {SUPERSEDED}")

    def decision(self) -> Decision:
        """The draft as a frozen state, with its effects and log."""
        return Decision(self.as_state(), tuple(self.effects), tuple(self.log))

    def as_state(self) -> RunState:
        """The draft as a frozen state, which later changes of the draft leave alone."""
        return RunState(*_state_values(self))
