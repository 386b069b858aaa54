"""Reactions, actions, expressions and durations of a definition, each with its path.

One walk in document order for checker, compiler and diagram, so that none of them misses a part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from journeys.language import definition as d
from journeys.language.actions import Action, Emit, Send, Set, Task, action_name
from journeys.language.conditions import ConditionType, names_in
from journeys.language.problems import Path

Trigger = Literal["on", "after", "every", "at"]


@dataclass(frozen=True, slots=True)
class Reaction:
    """A list of transitions with its trigger. `state` is None for the journey's own.

    `key` is the signal of `on`, the duration of `after` and `every`, the date expression of `at`.
    """

    path: Path
    state: str | None
    trigger: Trigger
    key: str
    transitions: tuple[d.Transition, ...]

    def each_transition(self) -> Iterator[tuple[Path, d.Transition]]:
        """The transitions with their paths."""
        if self.trigger == "at":
            yield self.path, self.transitions[0]
        else:
            for index, transition in enumerate(self.transitions):
                yield (*self.path, index), transition


@dataclass(frozen=True, slots=True)
class ActionSite:
    """An action and its place: on entering `state` if `reaction` is None, else in that reaction."""

    path: Path
    state: str | None
    action: Action
    reaction: Reaction | None


@dataclass(frozen=True, slots=True)
class Expression:
    """A CEL expression, the type it must yield, and the signals whose event it may read (none for a timer's)."""

    path: Path
    source: str
    kind: ConditionType
    signals: tuple[str, ...] = ()
    is_key: bool = False
    in_emit: bool = False


@dataclass(frozen=True, slots=True)
class DurationSite:
    """A duration; `cel`: a CEL expression is allowed instead of ISO 8601."""

    path: Path
    text: str
    cel: bool = False
    is_key: bool = False


def reactions_of(journey: d.Journey) -> Iterator[Reaction]:
    """The journey's own reactions, then each state's, in document order."""
    yield from _reactions((), None, journey)
    for name, state in journey.states.items():
        yield from _reactions(("states", name), name, state)


def _reactions(path: Path, state: str | None, node: d.Reacting) -> Iterator[Reaction]:
    for signal, transitions in node.on.items():
        yield Reaction((*path, "on", signal), state, "on", signal, transitions)
    for text, delayed in node.after.items():
        yield Reaction((*path, "after", text), state, "after", text, delayed)
    for text, repeats in node.every.items():
        yield Reaction((*path, "every", text), state, "every", text, repeats)
    for index, anchor in enumerate(node.at):
        yield Reaction((*path, "at", index), state, "at", anchor.date, (anchor,))


def actions_of(journey: d.Journey) -> Iterator[ActionSite]:
    """Every action: those on entering each state, then those of every reaction."""
    for name, state in journey.states.items():
        for index, action in enumerate(state.do):
            yield ActionSite(("states", name, "do", index), name, action, None)
    for reaction in reactions_of(journey):
        for path, transition in reaction.each_transition():
            for index, action in enumerate(transition.do):
                yield ActionSite((*path, "do", index), reaction.state, action, reaction)


def incoming_transitions(journey: d.Journey) -> dict[str, tuple[str, ...]]:
    """By state, the signals that lead into it, entry included: its `do` may read their `event`."""
    incoming: dict[str, list[str]] = {name: [] for name in journey.states}
    incoming.get(journey.start, []).extend(journey.entry.on)
    for reaction in reactions_of(journey):
        if reaction.trigger == "on":
            for transition in reaction.transitions:
                if transition.to in incoming:
                    incoming[transition.to].append(reaction.key)
    return {name: tuple(dict.fromkeys(signals)) for name, signals in incoming.items()}


def expressions_of(journey: d.Journey) -> Iterator[Expression]:
    """Every CEL expression of a definition."""
    yield from _entry_and_ends(journey)
    for reaction in reactions_of(journey):
        for path, transition in reaction.each_transition():
            if transition.when is not None:
                yield Expression((*path, "when"), transition.when, "bool", _signals_of(reaction))
            if isinstance(transition, d.Anchor):
                yield Expression((*path, "date"), transition.date, "timestamp")
    incoming = incoming_transitions(journey)
    for site in actions_of(journey):
        entered_by = incoming.get(site.state or "", ())
        yield from _of_action(site, entered_by if site.reaction is None else _signals_of(site.reaction))


def _signals_of(reaction: Reaction) -> tuple[str, ...]:
    return (reaction.key,) if reaction.trigger == "on" else ()


def _entry_and_ends(journey: d.Journey) -> Iterator[Expression]:
    if journey.entry.when is not None:
        for signal in journey.entry.on:
            yield Expression(("entry", "when"), journey.entry.when, "bool", (signal,))
    if journey.goal is not None and journey.goal.when is not None:
        for signal in journey.goal.on:
            yield Expression(("goal", "when"), journey.goal.when, "bool", (signal,))
    for index, exit_rule in enumerate(journey.exit):
        if exit_rule.when is not None:
            yield Expression(("exit", index, "when"), exit_rule.when, "bool", (exit_rule.on,))
    if journey.handoff is not None:
        for key, source in (("intent", journey.handoff.intent), ("promise", journey.handoff.promise)):
            if source is not None:
                yield Expression(("handoff", key), source, "value")


def _of_action(site: ActionSite, signals: tuple[str, ...]) -> Iterator[Expression]:
    action, path = site.action, site.path
    if action.when is not None:
        yield Expression((*path, "when"), action.when, "bool", signals)
    emits = isinstance(action, Emit) and action.for_each is not None
    if isinstance(action, Emit) and action.for_each is not None:
        yield Expression((*path, "for_each"), action.for_each, "list", signals)
    if isinstance(action, Send | Task | Emit):
        for name, source in action.data.items():
            yield Expression((*path, "data", name), source, "value", signals, in_emit=emits)
    if isinstance(action, Set):
        for name, source in action.set.items():
            yield Expression((*path, "set", name), source, "value", signals)


def durations_of(journey: d.Journey) -> Iterator[DurationSite]:
    """Every duration of a definition, ISO or CEL."""
    if journey.goal is not None and journey.goal.within is not None:
        yield DurationSite(("goal", "within"), journey.goal.within)
    if isinstance(journey.entry.again, d.Again):
        yield DurationSite(("entry", "again", "after"), journey.entry.again.after)
    yield from _of_entry(journey.entry)
    for reaction in reactions_of(journey):
        if reaction.trigger in {"after", "every"}:
            yield DurationSite(reaction.path, reaction.key, cel=True, is_key=True)
        for path, transition in reaction.each_transition():
            yield from _of_transition(path, transition)
    for site in actions_of(journey):
        if isinstance(site.action, Send) and site.action.expires is not None:
            yield DurationSite((*site.path, "expires"), site.action.expires, cel=True)
        if isinstance(site.action, Task) and site.action.sla is not None:
            yield DurationSite((*site.path, "sla"), site.action.sla, cel=True)


def _of_entry(entry: d.Entry) -> Iterator[DurationSite]:
    if isinstance(entry.lookback, str):
        yield DurationSite(("entry", "lookback"), entry.lookback)
    else:
        durations = {"goal": entry.lookback.goal, "exit": entry.lookback.exit}
        yield from (DurationSite(("entry", "lookback", key), text) for key, text in durations.items() if text)
    yield DurationSite(("entry", "max_age"), entry.max_age)


def _of_transition(path: Path, transition: d.Transition) -> Iterator[DurationSite]:
    if isinstance(transition, d.OnSignal) and transition.lookback is not None:
        yield DurationSite((*path, "lookback"), transition.lookback)
    if isinstance(transition, d.Anchor):
        durations = {name: getattr(transition, name) for name in ("before", "after", "every", "tolerance")}
        for key, text in durations.items():
            if text is not None:
                yield DurationSite((*path, key), text)


def required_fields(journey: d.Journey) -> dict[str, frozenset[str]]:
    """By message, the fields that must be known before it is sent (H8), as dotted names.

    These are the fields without a `known.` beside them in its own condition and data, and in the conditions of entry,
    goal and exit.
    """
    ends = [item.source for item in expressions_of(journey) if item.path[0] in {"entry", "goal", "exit"}]
    required: dict[str, frozenset[str]] = {}
    for site in actions_of(journey):
        if isinstance(site.action, Send):
            own = [source for source in (site.action.when, *site.action.data.values()) if source is not None]
            fields = {field for source in (*ends, *own) for field in _read_unguarded(source)}
            name = action_name(site.action)
            required[name] = required.get(name, frozenset()) | fields
    return required


def _read_unguarded(source: str) -> Iterator[str]:
    names = names_in(source)
    for name in names:
        if name.startswith(("profile.", "account.")) and f"known.{name}" not in names:
            yield name
