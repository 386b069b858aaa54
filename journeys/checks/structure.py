"""Checks of a journey's graph: states, reachability, transitions, signals and reserved names.

Every name refers to something, every state can be reached, and every run can end.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping

from journeys.checks.context import CheckContext
from journeys.decision.compiler import BUILT_IN
from journeys.language import definition as d
from journeys.language.actions import Emit
from journeys.language.outcome_signals import SEND_OUTCOMES, TASK_OUTCOMES, is_segment_signal
from journeys.language.problems import Path, Problem
from journeys.language.signal_names import RESERVED_PREFIX
from journeys.language.traversal import Reaction

PLATFORM_OUTCOMES = frozenset({"reached", "missed", "exited", "cancelled", "opted_out", "merged", "erased"})


def check_structure(context: CheckContext) -> Iterator[Problem]:
    """All problems of states, transitions and signals."""
    yield from _targets(context)
    yield from _reachability(context)
    yield from _final_states(context)
    yield from _unused_transitions(context)
    yield from _signal_loops(context)
    yield from _signals(context)
    yield from _reserved_names(context)


def state_graph(context: CheckContext) -> dict[str, set[str]]:
    """The states that each state can lead to, by its own reactions and the journey's."""
    graph: dict[str, set[str]] = {name: set() for name in context.journey.states}
    for reaction in context.reactions:
        targets = {
            transition.to for transition in reaction.transitions if transition.to is not None and transition.to in graph
        }
        for name in graph if reaction.state is None else (reaction.state,):
            if context.journey.states[name].final is None:
                graph[name] |= targets
    return graph


def reachable_nodes(graph: Mapping[str, Iterable[str]], begin: Iterable[str]) -> set[str]:
    """All nodes of a graph that can be reached from these, themselves included."""
    seen: set[str] = set()
    pending = list(begin)
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending.extend(graph.get(name, ()))
    return seen


def _targets(context: CheckContext) -> Iterator[Problem]:
    states = context.journey.states
    known = ", ".join(states)
    start = context.journey.start
    if start not in states:
        yield context.problem("T201", ("start",), f"{start} is not a state; the states are {known}")
    for reaction in context.reactions:
        for path, transition in reaction.each_transition():
            if transition.to is not None and transition.to not in states:
                text = f"{transition.to} is not a state; the states are {known}"
                yield context.problem("T202", (*path, "to"), text)


def _reachability(context: CheckContext) -> Iterator[Problem]:
    journey = context.journey
    if journey.start not in journey.states:
        return
    graph = state_graph(context)
    reachable = reachable_nodes(graph, [journey.start])
    for name in journey.states:
        if name not in reachable:
            yield context.problem("T203", ("states", name), f"no transition leads to {name}")
    if journey.goal is not None or journey.exit:
        return
    reverse: dict[str, set[str]] = {name: set() for name in journey.states}
    for name, targets in graph.items():
        for target in targets:
            reverse[target].add(name)
    ending = reachable_nodes(reverse, [name for name, state in journey.states.items() if state.final is not None])
    for name in journey.states:
        if name in reachable and name not in ending:
            yield context.problem("T204", ("states", name), f"no path leads from {name} to a final state")


def _final_states(context: CheckContext) -> Iterator[Problem]:
    for name, state in context.journey.states.items():
        if state.final is None:
            continue
        unused = {"milestone": state.milestone, "on": state.on, "after": state.after, "every": state.every}
        for key, value in {**unused, "at": state.at}.items():
            if value:
                yield context.problem("T205", ("states", name, key), f"{name} is final and has `{key}`")


def _unused_transitions(context: CheckContext) -> Iterator[Problem]:
    for reaction in context.reactions:
        if reaction.trigger == "at":
            continue
        unguarded = next(
            (index for index, transition in enumerate(reaction.transitions) if transition.when is None), None
        )
        if unguarded is not None:
            for index in range(unguarded + 1, len(reaction.transitions)):
                text = "the transition before it has no guard, so this one is never taken"
                yield context.problem("T206", (*reaction.path, index), text)
    ending = _unguarded_ends(context.journey)
    for reaction in context.reactions:
        if reaction.trigger == "on" and reaction.key in ending:
            text = f"{ending[reaction.key]} ends the run on {reaction.key} before this reaction"
            yield context.problem("T206", reaction.path, text, mend="Remove it, or guard the goal or exit.")


def _unguarded_ends(journey: d.Journey) -> dict[str, str]:
    ends = {rule.on: "an exit" for rule in journey.exit if rule.when is None}
    if journey.goal is not None and journey.goal.when is None:
        ends |= dict.fromkeys(journey.goal.on, "the goal")
    return ends


def _signal_loops(context: CheckContext) -> Iterator[Problem]:
    """A signal whose reaction emits, without a guard, a signal that leads back to it."""
    graph: dict[str, set[str]] = {}
    paths: dict[str, Path] = {}
    for signal, emitted, path in _unguarded_emits(context):
        graph.setdefault(signal, set()).add(emitted)
        paths.setdefault(signal, path)
    for signal, path in paths.items():
        if signal in reachable_nodes(graph, graph[signal]):
            yield context.problem("T208", path, f"{signal} emits signals that lead back to it")


def _unguarded_emits(context: CheckContext) -> Iterator[tuple[str, str, Path]]:
    for site in context.actions:
        if not isinstance(site.action, Emit) or site.action.when is not None:
            continue
        reaction = site.reaction
        if reaction is None:
            causes: Iterable[str] = _unguarded_into(context, site.state or "")
        else:
            causes = (reaction.key,) if reaction.trigger == "on" and not _all_guarded(reaction) else ()
        for cause in causes:
            yield cause, site.action.emit, site.path


def _unguarded_into(context: CheckContext, state: str) -> Iterator[str]:
    entry = context.journey.entry
    if context.journey.start == state and entry.again == "always" and entry.when is None:
        yield from entry.on
    for reaction in context.reactions:
        if reaction.trigger == "on" and any(
            transition.to == state and transition.when is None for transition in reaction.transitions
        ):
            yield reaction.key


def _all_guarded(reaction: Reaction) -> bool:
    return all(transition.when is not None for transition in reaction.transitions)


def _signals(context: CheckContext) -> Iterator[Problem]:
    """Every signal that is listened to, awaited or emitted is in the plan or an outcome."""
    for path, name in signals_listened_to(context.journey):
        is_own_outcome = path[0] == "entry" and name in context.outcomes
        if name.startswith(RESERVED_PREFIX):
            yield context.problem("T209", path, f"{name} is a signal of the platform")
        elif not context.is_signal(name) or is_own_outcome:
            yield context.problem("T402", path, _unknown_signal(context, name))
    for site in context.actions:
        if isinstance(site.action, Emit):
            name, path = site.action.emit, (*site.path, "emit")
            if name.startswith(RESERVED_PREFIX):
                yield context.problem("T209", path, f"{name} is a signal of the platform")
            elif name not in context.plan.signals:
                yield context.problem("T402", path, _unknown_signal(context, name))


def signals_listened_to(journey: d.Journey) -> Iterator[tuple[Path, str]]:
    """Every signal that a definition listens to, with its path; milestones included."""
    for index, name in enumerate(journey.entry.on):
        yield ("entry", "on", index), name
    for index, name in enumerate(journey.goal.on if journey.goal else ()):
        yield ("goal", "on", index), name
    for index, rule in enumerate(journey.exit):
        yield ("exit", index, "on"), rule.on
    for name in journey.on:
        yield ("on", name), name
    for state_name, state in journey.states.items():
        if state.milestone is not None:
            yield ("states", state_name, "milestone"), state.milestone
        for name in state.on:
            yield ("states", state_name, "on", name), name


def _unknown_signal(context: CheckContext, name: str) -> str:
    action, _, outcome = name.rpartition(".")
    if action and outcome in {*SEND_OUTCOMES, *TASK_OUTCOMES}:
        return f"{name} is not an outcome of any action of this journey"
    if is_segment_signal(name):
        return f"{name} cannot start a run"
    return f"{name} is not in the tracking plan" + similar_name_hint(name, context.plan.signals)


def similar_name_hint(name: str, known: Iterable[str]) -> str:
    """`; did you mean x?`, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _reserved_names(context: CheckContext) -> Iterator[Problem]:
    for name in context.journey.variables:
        if f"journey.{name}" in BUILT_IN:
            yield context.problem("T209", ("variables", name), f"journey.{name} is a field of every run")
    for name, state in context.journey.states.items():
        if state.final in PLATFORM_OUTCOMES:
            yield context.problem("T209", ("states", name, "final"), f"{state.final} is an outcome of the platform")
