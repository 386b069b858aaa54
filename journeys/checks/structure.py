"""The statechart as a graph: everything named exists, everything can be reached, and nobody is held for ever."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping

from journeys.checks.context import CheckContext
from journeys.decision.compiler import BUILT_IN
from journeys.language import definition as d
from journeys.language.actions import Emit
from journeys.language.outcome_signals import is_segment_signal
from journeys.language.problems import Path, Problem
from journeys.language.signal_names import RESERVED_PREFIX
from journeys.language.traversal import Reaction

OUTCOMES_OF_THE_PLATFORM = frozenset({"reached", "missed", "exited", "cancelled", "opted_out", "merged", "erased"})


def check_structure(look: CheckContext) -> Iterator[Problem]:
    """All problems of states and transitions."""
    yield from _targets(look)
    yield from _reach(look)
    yield from _finals(look)
    yield from _never_taken(look)
    yield from _circling_signals(look)
    yield from _signals(look)
    yield from _reserved(look)


def edges(look: CheckContext) -> dict[str, set[str]]:
    """Where each state can lead, by its own reactions and by the journey's."""
    found: dict[str, set[str]] = {name: set() for name in look.journey.states}
    for reaction in look.reactions:
        leading = {move.to for move in reaction.moves if move.to is not None and move.to in found}
        for name in found if reaction.state is None else (reaction.state,):
            if look.journey.states[name].final is None:
                found[name] |= leading
    return found


def reachable_states(graph: Mapping[str, Iterable[str]], begin: Iterable[str]) -> set[str]:
    """All that can be reached from these, themselves included."""
    seen: set[str] = set()
    todo = list(begin)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(graph.get(name, ()))
    return seen


def _targets(look: CheckContext) -> Iterator[Problem]:
    states = look.journey.states
    known = ", ".join(states)
    if look.journey.start not in states:
        yield look.say("T201", ("start",), f"{look.journey.start} is not a state; there are {known}")
    for reaction in look.reactions:
        for path, move in reaction.each():
            if move.to is not None and move.to not in states:
                yield look.say("T202", (*path, "to"), f"{move.to} is not a state; there are {known}")


def _reach(look: CheckContext) -> Iterator[Problem]:
    journey = look.journey
    if journey.start not in journey.states:
        return
    graph = edges(look)
    seen = reachable_states(graph, [journey.start])
    for name in journey.states:
        if name not in seen:
            yield look.say("T203", ("states", name), f"nothing leads to {name}")
    if journey.goal is not None or journey.exit:
        return
    back: dict[str, set[str]] = {name: set() for name in journey.states}
    for name, leading in graph.items():
        for to in leading:
            back[to].add(name)
    ending = reachable_states(back, [name for name, state in journey.states.items() if state.final is not None])
    for name in journey.states:
        if name in seen and name not in ending:
            yield look.say("T204", ("states", name), f"no way leads from {name} to an end")


def _finals(look: CheckContext) -> Iterator[Problem]:
    for name, state in look.journey.states.items():
        if state.final is None:
            continue
        for key, value in (("milestone", state.milestone), ("on", state.on), ("after", state.after)):
            if value:
                yield look.say("T205", ("states", name, key), f"{name} is final and has `{key}`")
        for key, values in (("every", state.every), ("at", state.at)):
            if values:
                yield look.say("T205", ("states", name, key), f"{name} is final and has `{key}`")


def _never_taken(look: CheckContext) -> Iterator[Problem]:
    for reaction in look.reactions:
        if reaction.trigger == "at":
            continue
        open_at = next((index for index, move in enumerate(reaction.moves) if move.when is None), None)
        if open_at is not None:
            for index in range(open_at + 1, len(reaction.moves)):
                what = "the one before it has no guard, so this is never taken"
                yield look.say("T206", (*reaction.path, index), what)
    ending = _ends_at_once(look.journey)
    for reaction in look.reactions:
        if reaction.trigger == "on" and reaction.by in ending:
            what = f"{reaction.by} ends the run by {ending[reaction.by]} first"
            yield look.say("T206", reaction.path, what, mend="Remove it, or guard the goal or exit.")


def _ends_at_once(journey: d.Journey) -> dict[str, str]:
    found = {stop.on: "an exit" for stop in journey.exit if stop.when is None}
    if journey.goal is not None and journey.goal.when is None:
        found |= dict.fromkeys(journey.goal.on, "the goal")
    return found


def _circling_signals(look: CheckContext) -> Iterator[Problem]:
    """A signal whose reaction emits, without a guard, a signal that leads back to it."""
    graph: dict[str, set[str]] = {}
    places: dict[str, Path] = {}
    for signal, emitted, path in _answers(look):
        graph.setdefault(signal, set()).add(emitted)
        places.setdefault(signal, path)
    for signal, path in places.items():
        if signal in reachable_states(graph, graph[signal]):
            yield look.say("T208", path, f"{signal} is answered by signals that come back to it")


def _answers(look: CheckContext) -> Iterator[tuple[str, str, Path]]:
    for doing in look.actions:
        if not isinstance(doing.action, Emit) or doing.action.when is not None:
            continue
        if doing.reaction is None:
            causes: Iterable[str] = _unguarded_into(look, doing.state or "")
        else:
            causes = (doing.reaction.by,) if doing.reaction.trigger == "on" and not _guarded(doing.reaction) else ()
        for cause in causes:
            yield cause, doing.action.emit, doing.path


def _unguarded_into(look: CheckContext, state: str) -> Iterator[str]:
    if look.journey.start == state and look.journey.entry.again == "always" and look.journey.entry.when is None:
        yield from look.journey.entry.on
    for reaction in look.reactions:
        if reaction.trigger == "on" and any(move.to == state and move.when is None for move in reaction.moves):
            yield reaction.by


def _guarded(reaction: Reaction) -> bool:
    return all(move.when is not None for move in reaction.moves)


def _signals(look: CheckContext) -> Iterator[Problem]:
    """Every signal that is listened to, waited for or emitted is known to somebody."""
    journey = look.journey
    for path, name in signals_listened_to(journey):
        at_the_door = path[0] == "entry"
        if name.startswith(RESERVED_PREFIX):
            yield look.say("T209", path, f"{name} is one of the platform's own signals")
        elif not look.is_signal(name) or (at_the_door and name in look.outcomes):
            yield look.say("T402", path, _unknown(look, name))
    for doing in look.actions:
        if isinstance(doing.action, Emit):
            name = doing.action.emit
            if name.startswith(RESERVED_PREFIX):
                yield look.say("T209", (*doing.path, "emit"), f"{name} is one of the platform's own signals")
            elif name not in look.plan.signals:
                yield look.say("T402", (*doing.path, "emit"), _unknown(look, name))


def signals_listened_to(journey: d.Journey) -> Iterator[tuple[Path, str]]:
    """Every signal that a definition names as something to hear, with its path."""
    for index, name in enumerate(journey.entry.on):
        yield ("entry", "on", index), name
    for index, name in enumerate(journey.goal.on if journey.goal else ()):
        yield ("goal", "on", index), name
    for index, stop in enumerate(journey.exit):
        yield ("exit", index, "on"), stop.on
    for name in journey.on:
        yield ("on", name), name
    for state, place in journey.states.items():
        if place.milestone is not None:
            yield ("states", state, "milestone"), place.milestone
        for name in place.on:
            yield ("states", state, "on", name), name


def _unknown(look: CheckContext, name: str) -> str:
    stem, _, word = name.rpartition(".")
    if stem and word in {"sent", "withheld", "failed", "closed", "overdue"}:
        return f"{name} is the outcome of no action of this journey"
    if is_segment_signal(name):
        return f"{name} cannot open a run"
    return f"{name} is not in the tracking plan" + similar_names(name, look.plan.signals)


def similar_names(name: str, known: Iterable[str]) -> str:
    """`; did you mean x?`, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _reserved(look: CheckContext) -> Iterator[Problem]:
    for name in look.journey.variables:
        if f"journey.{name}" in BUILT_IN:
            yield look.say("T209", ("variables", name), f"journey.{name} is the run's own")
    for name, state in look.journey.states.items():
        if state.final in OUTCOMES_OF_THE_PLATFORM:
            yield look.say("T209", ("states", name, "final"), f"the outcome {state.final} is the platform's own")
