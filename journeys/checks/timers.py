"""Checks of durations, repeats, anchors, the goal's window and timer loops.

Every duration can be read, every timer can fire, and time passes between them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import timedelta

from journeys.calendar.durations import Duration, parse_duration
from journeys.checks.context import CheckContext
from journeys.checks.structure import reachable_nodes
from journeys.language import definition as d
from journeys.language.problems import Path, Problem
from journeys.language.traversal import DurationSite, durations_of

MINUTE = timedelta(minutes=1)


def check_timers(context: CheckContext) -> Iterator[Problem]:
    """All problems of durations, timers and anchors."""
    yield from _durations(context)
    yield from _goal_window(context)
    yield from _anchors(context)
    yield from _timer_loops(context)


def is_cel_duration(site: DurationSite) -> bool:
    """Whether a delay is a CEL expression: those call a function, such as `days(profile.rhythm_days)`."""
    return site.cel and "(" in site.text


def _iso_duration(text: str) -> Duration | None:
    """The duration; None for a CEL expression, or for a fault that `_durations` reports."""
    try:
        return parse_duration(text)
    except ValueError:
        return None


def _at_least(duration: Duration) -> timedelta:
    return timedelta(days=28 * duration.months) + duration.exact


def _at_most(duration: Duration) -> timedelta:
    return timedelta(days=31 * duration.months) + duration.exact


def _durations(context: CheckContext) -> Iterator[Problem]:
    for site in durations_of(context.journey):
        if is_cel_duration(site):
            continue
        try:
            length = parse_duration(site.text).roughly()
        except ValueError as fault:
            yield context.problem("T301", site.path, str(fault))
            continue
        repeats = "every" in site.path[-2:]
        if repeats and length < MINUTE:
            yield context.problem("T305", site.path, f"{site.text} is less than a minute")
        elif not length and site.path == ("goal", "within"):
            text = f"{site.text} is zero: every run would miss the goal at once"
            yield context.problem("T301", site.path, text)


def _goal_window(context: CheckContext) -> Iterator[Problem]:
    """A timer that is due at the earliest when the goal's window has passed never fires."""
    goal = context.journey.goal
    within = _iso_duration(goal.within) if goal is not None and goal.within is not None else None
    if within is None:
        return
    earliest = _earliest_arrivals(context)
    for reaction in context.reactions:
        delay = _iso_duration(reaction.key) if reaction.trigger in {"after", "every"} else None
        begin = timedelta() if reaction.state is None else earliest.get(reaction.state)
        if delay is None or begin is None or begin + _at_least(delay) < _at_most(within):
            continue
        since = "" if not begin else f", in a state that is entered after {begin.days} days at the earliest,"
        text = f"{reaction.key}{since} is not before the goal's {goal.within if goal else ''}"
        yield context.problem("T302", reaction.path, text)


def _earliest_arrivals(context: CheckContext) -> dict[str, timedelta]:
    """By state, the least time after the run's beginning at which it can be entered."""
    earliest: dict[str, timedelta] = {}
    pending: list[tuple[timedelta, str]] = [(timedelta(), context.journey.start)]
    for reaction in context.reactions:
        if reaction.state is None:
            delay = _least_delay(reaction.trigger, reaction.key)
            pending.extend((delay, transition.to) for transition in reaction.transitions if transition.to)
    heapq.heapify(pending)
    while pending:
        at, name = heapq.heappop(pending)
        if name in earliest or name not in context.journey.states:
            continue
        earliest[name] = at
        for reaction in context.reactions:
            if reaction.state == name:
                later = at + _least_delay(reaction.trigger, reaction.key)
                for transition in reaction.transitions:
                    if transition.to is not None:
                        heapq.heappush(pending, (later, transition.to))
    return earliest


def _least_delay(trigger: str, key: str) -> timedelta:
    """The least time before a reaction; zero for a signal, a date or a CEL expression."""
    delay = _iso_duration(key) if trigger in {"after", "every"} else None
    return _at_least(delay) if delay is not None else timedelta()


def _anchors(context: CheckContext) -> Iterator[Problem]:
    for reaction in context.reactions:
        anchor = reaction.transitions[0]
        if not isinstance(anchor, d.Anchor):
            continue
        if anchor.before is not None and anchor.after is not None:
            text = f"the timer is set {anchor.before} before and {anchor.after} after its date"
            yield context.problem("T303", reaction.path, text)
        if anchor.past == "next" and anchor.every is None:
            yield context.problem("T304", (*reaction.path, "past"), "`past: next` needs `every`")
    nodes: list[tuple[Path, d.Reacting]] = [((), context.journey)]
    nodes += [(("states", name), state) for name, state in context.journey.states.items()]
    for path, node in nodes:
        seen: set[str] = set()
        for index, anchor in enumerate(node.at):
            if anchor.name in seen:
                text = f"another anchor here is named {anchor.name}"
                yield context.problem("T306", (*path, "at", index, "name"), text)
            seen |= {anchor.name} if anchor.name else set()


def _timer_loops(context: CheckContext) -> Iterator[Problem]:
    """States that lead back to themselves by timers of less than a minute, without any signal."""
    graph: dict[str, set[str]] = {}
    quick = []
    for reaction in context.reactions:
        delay = _iso_duration(reaction.key) if reaction.trigger == "after" else None
        if delay is None or _at_most(delay) >= MINUTE or reaction.state is None:
            continue
        quick.append(reaction)
        targets = {transition.to for transition in reaction.transitions if transition.to is not None}
        graph.setdefault(reaction.state, set()).update(targets)
    reachable = {state: reachable_nodes(graph, [state]) for state in graph}
    for reaction in quick:
        state = reaction.state or ""
        if any(state in reachable.get(transition.to or "", {transition.to}) for transition in reaction.transitions):
            text = f"after {reaction.key} the run is in {state} again, with no time in between"
            yield context.problem("T207", reaction.path, text)
