"""The parts of a runnable chart: what a decision walks through, with every condition compiled and every duration read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from journeys.calendar.durations import Duration
from journeys.language import definition as d
from journeys.language.actions import Action
from journeys.language.conditions import Condition, Lookup


@dataclass(frozen=True, slots=True, eq=False)
class Delay:
    """How long to wait: fixed, or a person's own rhythm asked when the wait begins."""

    fixed: Duration | None
    rhythm: Condition | None

    def after(self, at: datetime, lookup: Lookup) -> tuple[datetime | None, str]:
        """The due instant; or None with the reason why there is none."""
        if self.fixed is not None:
            return self.fixed.after(at), ""
        assert self.rhythm is not None
        value = self.rhythm.evaluate(lookup)
        if not value.ok:
            return None, f"{self.rhythm.source}: {value.reason}"
        if value.value.total_seconds() < 0:
            return None, f"{self.rhythm.source} is negative"
        try:
            return at + value.value, ""
        except OverflowError:
            return None, f"{self.rhythm.source} reaches past the calendar"


@dataclass(frozen=True, slots=True, eq=False)
class CompiledAction:
    """One action, with what must be evaluated when it runs."""

    spec: Action
    name: str
    guard: Condition | None
    values: tuple[tuple[str, Condition], ...] = ()
    for_each: Condition | None = None
    expires: Delay | None = None
    sla: Delay | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ChartTransition:
    """A transition: guard, target (None is internal), actions."""

    to: str | None
    guard: Condition | None
    do: tuple[CompiledAction, ...]
    lookback: Duration | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Timer:
    """A wait of a state's visit (`s:`) or of the journey (`j:`); `order` is its place in the document."""

    id: str
    order: int
    label: str
    moves: tuple[ChartTransition, ...]
    delay: Delay | None = None
    repeats: bool = False
    times: int | None = None
    date: Condition | None = None
    before: Duration | None = None
    later: Duration | None = None
    past: str = "skip"
    every: Duration | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StateNode:
    """A state: what it does on entry and what it reacts to. The journey's own reactions are one more."""

    name: str
    do: tuple[CompiledAction, ...]
    on: Mapping[str, tuple[ChartTransition, ...]]
    timers: tuple[Timer, ...]
    final: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class EndRule:
    """What ends a run from anywhere: a signal and its guard."""

    on: str
    guard: Condition | None


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """A runnable definition. `signals` are all names it can react to, `fields` all it reads by scope.

    `tasks` are found by the state they are opened in (empty for the journey's own) and their name, as are the `roles` that a
    message of an account is for; `ways` are the topic, priority and channel of all that its messages may take; `looked_back`
    says how long each such signal is of use.
    """

    key: str
    hash: str
    spec: d.Journey
    types: Mapping[str, str]
    entry: tuple[EndRule, ...]
    entry_again: Duration | None
    goal: tuple[EndRule, ...]
    within: Duration | None
    exits: tuple[EndRule, ...]
    places: Mapping[str, StateNode]
    everywhere: StateNode
    timers: Mapping[tuple[str, str], Timer]
    tasks: Mapping[tuple[str, str], CompiledAction]
    sends: frozenset[str]
    ways: frozenset[tuple[str | None, str, str]]
    looked_back: Mapping[str, timedelta]
    signals: frozenset[str]
    fields: Mapping[str, frozenset[str]]
    event_fields: Mapping[str, frozenset[str]]
    needs: Mapping[str, frozenset[str]]
    roles: Mapping[tuple[str, str], tuple[str, ...]]

    @property
    def has_anchors(self) -> bool:
        """Whether a field alone, a date, can move a timer."""
        return any(timer.date is not None for timer in self.timers.values())

    def missing(self, action: str, profile: Mapping[str, Any], account: Mapping[str, Any]) -> tuple[str, ...]:
        """The product state that a message is sent on and nobody has told (H8); unknown is not false."""
        scopes = {"profile": profile, "account": account}
        found = (name.split(".", 1) for name in sorted(self.needs.get(action, ())))
        return tuple(f"{scope}.{field}" for scope, field in found if scopes[scope].get(field) is None)

    def roles_for(self, state: str, action: str) -> tuple[str, ...]:
        """Who in its account a message is for that a state asked for, or the journey in that state."""
        return self.roles.get((state, action)) or self.roles.get(("", action), ())

    def kept(self, signal: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """Of a signal's data, only what the definition reads (design §3): the rest never reaches a history."""
        wanted = self.event_fields.get(signal, frozenset())
        return {name: data[name] for name in data if name in wanted}

    def known(self, scope: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Of a profile, only the fields that the definition reads."""
        wanted = self.fields.get(scope, frozenset())
        return {name: value for name, value in values.items() if value is not None and name in wanted}
