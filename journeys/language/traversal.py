"""Every part of a definition with its path, found by one walk, so that no check and no reader misses a corner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from journeys.language import definition as d
from journeys.language.actions import Action, Emit, Send, Set, Task
from journeys.language.conditions import ConditionType
from journeys.language.problems import Path

Trigger = Literal["on", "after", "every", "at"]


@dataclass(frozen=True, slots=True)
class Reaction:
    """A list of transitions with what triggers it. `state` is None for the journey's own."""

    path: Path
    state: str | None
    trigger: Trigger
    by: str
    moves: tuple[d.Transition, ...]

    def each(self) -> Iterator[tuple[Path, d.Transition]]:
        """The transitions with their paths."""
        if self.trigger == "at":
            yield self.path, self.moves[0]
        else:
            for index, move in enumerate(self.moves):
                yield (*self.path, index), move


@dataclass(frozen=True, slots=True)
class ActionSite:
    """An action: on entering `state` when `reaction` is None, else in that reaction."""

    path: Path
    state: str | None
    action: Action
    reaction: Reaction | None


@dataclass(frozen=True, slots=True)
class Expression:
    """CEL: what it must yield, and the signals whose event it may read (none of them for a timer's)."""

    path: Path
    source: str
    kind: ConditionType
    signals: tuple[str, ...] = ()
    is_key: bool = False
    in_emit: bool = False


@dataclass(frozen=True, slots=True)
class DurationSite:
    """A duration. `cel` says whether a person's own rhythm may stand here."""

    path: Path
    text: str
    cel: bool = False
    is_key: bool = False


def reactions_of(journey: d.Journey) -> Iterator[Reaction]:
    """The journey's own reactions, then each state's, in document order."""
    yield from _reactions((), None, journey)
    for name, state in journey.states.items():
        yield from _reactions(("states", name), name, state)


def _reactions(path: Path, state: str | None, place: d.Reacting) -> Iterator[Reaction]:
    for signal, moves in place.on.items():
        yield Reaction((*path, "on", signal), state, "on", signal, moves)
    for text, waits in place.after.items():
        yield Reaction((*path, "after", text), state, "after", text, waits)
    for text, repeats in place.every.items():
        yield Reaction((*path, "every", text), state, "every", text, repeats)
    for index, anchor in enumerate(place.at):
        yield Reaction((*path, "at", index), state, "at", anchor.date, (anchor,))


def actions_of(journey: d.Journey) -> Iterator[ActionSite]:
    """Every action: those of entering each state, then those of every reaction."""
    for name, state in journey.states.items():
        for index, action in enumerate(state.do):
            yield ActionSite(("states", name, "do", index), name, action, None)
    for reaction in reactions_of(journey):
        for path, move in reaction.each():
            for index, action in enumerate(move.do):
                yield ActionSite((*path, "do", index), reaction.state, action, reaction)


def incoming_transitions(journey: d.Journey) -> dict[str, tuple[str, ...]]:
    """By state, the signals that lead into it, entry among them: what its `do` may read as `event`."""
    found: dict[str, list[str]] = {name: [] for name in journey.states}
    found.get(journey.start, []).extend(journey.entry.on)
    for reaction in reactions_of(journey):
        if reaction.trigger == "on":
            for move in reaction.moves:
                if move.to in found:
                    found[move.to].append(reaction.by)
    return {name: tuple(dict.fromkeys(signals)) for name, signals in found.items()}


def expressions_of(journey: d.Journey) -> Iterator[Expression]:
    """Every CEL expression of a definition."""
    yield from _stops(journey)
    for reaction in reactions_of(journey):
        for path, move in reaction.each():
            if move.when is not None:
                yield Expression((*path, "when"), move.when, "bool", _heard(reaction))
            if isinstance(move, d.Anchor):
                yield Expression((*path, "date"), move.date, "timestamp")
    leading = incoming_transitions(journey)
    for doing in actions_of(journey):
        entered_by = leading.get(doing.state or "", ())
        yield from _of_action(doing, entered_by if doing.reaction is None else _heard(doing.reaction))


def _heard(reaction: Reaction) -> tuple[str, ...]:
    return (reaction.by,) if reaction.trigger == "on" else ()


def _stops(journey: d.Journey) -> Iterator[Expression]:
    if journey.entry.when is not None:
        for signal in journey.entry.on:
            yield Expression(("entry", "when"), journey.entry.when, "bool", (signal,))
    if journey.goal is not None and journey.goal.when is not None:
        for signal in journey.goal.on:
            yield Expression(("goal", "when"), journey.goal.when, "bool", (signal,))
    for index, stop in enumerate(journey.exit):
        if stop.when is not None:
            yield Expression(("exit", index, "when"), stop.when, "bool", (stop.on,))
    if journey.handoff is not None:
        for key, source in (("intent", journey.handoff.intent), ("promise", journey.handoff.promise)):
            if source is not None:
                yield Expression(("handoff", key), source, "value")


def _of_action(doing: ActionSite, signals: tuple[str, ...]) -> Iterator[Expression]:
    action, path = doing.action, doing.path
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
    for reaction in reactions_of(journey):
        if reaction.trigger in {"after", "every"}:
            yield DurationSite(reaction.path, reaction.by, cel=True, is_key=True)
        for path, move in reaction.each():
            yield from _of_move(path, move)
    for doing in actions_of(journey):
        if isinstance(doing.action, Send) and doing.action.expires is not None:
            yield DurationSite((*doing.path, "expires"), doing.action.expires, cel=True)
        if isinstance(doing.action, Task) and doing.action.sla is not None:
            yield DurationSite((*doing.path, "sla"), doing.action.sla, cel=True)


def _of_move(path: Path, move: d.Transition) -> Iterator[DurationSite]:
    if isinstance(move, d.OnSignal) and move.lookback is not None:
        yield DurationSite((*path, "lookback"), move.lookback)
    if isinstance(move, d.Anchor):
        for key, text in (("before", move.before), ("after", move.after), ("every", move.every)):
            if text is not None:
                yield DurationSite((*path, key), text)
