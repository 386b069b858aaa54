"""Chart: a compiled definition, its states, transitions, timers, actions and end rules.

Every condition is compiled and every duration parsed; nothing in it changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from journeys.calendar.durations import Duration, parse_duration
from journeys.language import definition as d
from journeys.language.actions import PRIORITIES, Action, Priority
from journeys.language.conditions import SUBJECTS, Condition, Lookup
from journeys.language.values import is_unknown


@dataclass(frozen=True, slots=True, eq=False)
class Delay:
    """A delay: fixed, or a CEL expression evaluated when its timer is armed, and again when a field that it reads changes."""

    fixed: Duration | None
    expression: Condition | None

    @property
    def follows_fields(self) -> bool:
        """Whether it reads a field of the profile or the account."""
        return self.expression is not None and any(field.startswith(SUBJECTS) for field, _ in self.expression.reads)

    def after(self, at: datetime, lookup: Lookup) -> tuple[datetime | None, str]:
        """The due instant; or None with the reason why there is none."""
        if self.fixed is not None:
            return self.fixed.after(at), ""
        assert self.expression is not None
        evaluation = self.expression.evaluate(lookup)
        if not evaluation.ok:
            return None, f"{self.expression.source}: {evaluation.reason}"
        if evaluation.value.total_seconds() < 0:
            return None, f"{self.expression.source} is negative"
        try:
            return at + evaluation.value, ""
        except OverflowError:
            return None, f"{self.expression.source} reaches past the calendar"


@dataclass(frozen=True, slots=True, eq=False)
class CompiledAction:
    """An action with its compiled expressions: guard, data, `for_each`, delays.

    `nth` numbers the actions of one name in one state, the journey's own first: several emissions may have one name.
    """

    spec: Action
    name: str
    guard: Condition | None
    values: tuple[tuple[str, Condition], ...] = ()
    for_each: Condition | None = None
    expires: Delay | None = None
    sla: Delay | None = None
    nth: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class ChartTransition:
    """A transition: target (None is internal), guard, actions."""

    to: str | None
    guard: Condition | None
    do: tuple[CompiledAction, ...]
    lookback: Duration | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Timer:
    """A timer of a state's visit (`s:…`) or of the journey (`j:…`); `order` is its position in the document.

    It has a `delay` or, as an anchor, a `date` with a shift: so long `before` it, or so much `later`. A date that differs by at
    most `tolerance` from one that it has acted for is the same date.
    """

    id: str
    order: int
    label: str
    transitions: tuple[ChartTransition, ...]
    delay: Delay | None = None
    repeats: bool = False
    times: int | None = None
    date: Condition | None = None
    before: Duration | None = None
    later: Duration | None = None
    past: str = "skip"
    every: Duration | None = None
    tolerance: timedelta = timedelta()

    @property
    def follows_fields(self) -> bool:
        """Whether its delay reads a field."""
        return self.delay is not None and self.delay.follows_fields

    @property
    def offset(self) -> timedelta:
        """The length of its delay's shift from the date; zero at the date itself and for a delay."""
        shift = self.before or self.later
        return shift.roughly() if shift is not None else timedelta()


@dataclass(frozen=True, slots=True, eq=False)
class StateNode:
    """A state: its actions on entry, its transitions by signal, its timers; `final` is the outcome it ends the run with."""

    name: str
    do: tuple[CompiledAction, ...]
    on: Mapping[str, tuple[ChartTransition, ...]]
    timers: tuple[Timer, ...]
    final: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class EndRule:
    """A signal and its guard that end a run in any state, or begin one."""

    on: str
    guard: Condition | None


@dataclass(frozen=True, slots=True, eq=False)
class EntryLimits:
    """When an entry signal opens no run.

    `again` is the time after the last run, `max_age` the age above which an event is history. `goal` and `exit` are how long
    before the entry a signal that ends the run keeps it from beginning; None: at no time.
    """

    again: Duration | None
    max_age: Duration
    goal: Duration | None
    exit: Duration | None

    @classmethod
    def of(cls, spec: d.Journey) -> EntryLimits:
        """The limits of a definition."""
        entry, lookbacks = spec.entry, spec.entry.lookbacks
        return cls(
            parse_duration(entry.again.after) if isinstance(entry.again, d.Again) else None,
            parse_duration(entry.max_age),
            _lookback(lookbacks.goal) if spec.goal is not None else None,
            _lookback(lookbacks.exit) if lookbacks.exit is not None and spec.exit else None,
        )

    @property
    def longest_lookback(self) -> timedelta:
        """The longest time that an entry looks back; zero if it does not."""
        return max((limit.at_most() for limit in (self.goal, self.exit) if limit is not None), default=timedelta())


def _lookback(text: str) -> Duration | None:
    length = parse_duration(text)
    return length if length.roughly() else None


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """A definition that `decide` can run.

    - `root` has the journey's own transitions and timers, which apply in every state.
    - `timers`, `tasks` and `roles` are keyed by (state, id or action name); the journey's own have the state `""`.
    - `sends` are the names of its send actions, `routes` the (topic, priority, channel) that its messages may take.
    - `lookbacks` is the longest `lookback` by signal; `signals` are all names that it can react to.
    - `fields` are what it reads, by scope; `event_fields`, by signal; `needs`, by message (`required_fields`).
    """

    key: str
    hash: str
    spec: d.Journey
    types: Mapping[str, str]
    entry: tuple[EndRule, ...]
    limits: EntryLimits
    goal: tuple[EndRule, ...]
    within: Duration | None
    exits: tuple[EndRule, ...]
    states: Mapping[str, StateNode]
    root: StateNode
    timers: Mapping[tuple[str, str], Timer]
    tasks: Mapping[tuple[str, str], CompiledAction]
    sends: frozenset[str]
    routes: frozenset[tuple[str | None, Priority, str]]
    lookbacks: Mapping[str, timedelta]
    signals: frozenset[str]
    fields: Mapping[str, frozenset[str]]
    event_fields: Mapping[str, frozenset[str]]
    needs: Mapping[str, frozenset[str]]
    roles: Mapping[tuple[str, str], tuple[str, ...]]

    @property
    def looked_back(self) -> frozenset[str]:
        """The signals that keep a run from beginning if they came shortly before its entry."""
        rules = (*(self.goal if self.limits.goal else ()), *(self.exits if self.limits.exit else ()))
        return frozenset(rule.on for rule in rules) - {rule.on for rule in self.entry}

    @property
    def priority(self) -> Priority:
        """The priority of the journey or of its most urgent message (C6)."""
        return min((self.spec.priority, *(priority for _, priority, _ in self.routes)), key=PRIORITIES.index)

    @property
    def follows_fields(self) -> bool:
        """Whether a changed field can move one of its timers: it has a date, or a delay that reads fields."""
        return any(timer.date is not None or timer.follows_fields for timer in self.timers.values())

    def missing(self, action: str, profile: Mapping[str, Any], account: Mapping[str, Any]) -> tuple[str, ...]:
        """The fields that a message needs and that are unknown (H8), as dotted names in order."""
        scopes = {"profile": profile, "account": account}
        needed = (name.split(".", 1) for name in sorted(self.needs.get(action, ())))
        return tuple(f"{scope}.{field}" for scope, field in needed if is_unknown(scopes[scope].get(field)))

    def roles_for(self, state: str, action: str) -> tuple[str, ...]:
        """The account roles that a message of this state is for: the state's action, else the journey's."""
        return self.roles.get((state, action)) or self.roles.get(("", action), ())

    def kept(self, signal: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """The properties of a signal that the definition reads; no other reaches a history."""
        read = self.event_fields.get(signal, frozenset())
        return {name: data[name] for name in data if name in read}

    def known(self, scope: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The known fields of a scope (`profile`, `account`) that the definition reads."""
        read = self.fields.get(scope, frozenset())
        return {name: value for name, value in values.items() if value is not None and name in read}


def longest_lookbacks(nodes: Iterable[StateNode]) -> dict[str, timedelta]:
    """The longest `lookback` of any transition, by signal."""
    longest: dict[str, timedelta] = {}
    for node in nodes:
        for name, transitions in node.on.items():
            for transition in transitions:
                if transition.lookback is not None:
                    longest[name] = max(longest.get(name, timedelta(0)), transition.lookback.at_most())
    return longest
