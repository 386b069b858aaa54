"""Durations can be read, timers can ring, and time passes between them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import timedelta

from journeys.calendar.durations import Duration, parse_duration
from journeys.checks.context import CheckContext
from journeys.checks.structure import reachable_states
from journeys.language import definition as d
from journeys.language.problems import Path, Problem
from journeys.language.traversal import DurationSite, durations_of

MINUTE = timedelta(minutes=1)


def check_time(look: CheckContext) -> Iterator[Problem]:
    """All problems of durations, timers and anchors."""
    yield from _durations(look)
    yield from _window(look)
    yield from _anchors(look)
    yield from _circling(look)


def is_rhythm(wait: DurationSite) -> bool:
    """Whether a delay is a CEL expression; those call a function, such as `days(profile.rhythm_days)`."""
    return wait.cel and "(" in wait.text


def duration_or_none(text: str) -> Duration | None:
    """An ISO duration, or None: a rhythm of a person, or a fault that is reported elsewhere."""
    try:
        return parse_duration(text)
    except ValueError:
        return None


def _least(duration: Duration) -> timedelta:
    return timedelta(days=28 * duration.months) + duration.exact


def _most(duration: Duration) -> timedelta:
    return timedelta(days=31 * duration.months) + duration.exact


def _durations(look: CheckContext) -> Iterator[Problem]:
    for wait in durations_of(look.journey):
        if is_rhythm(wait):
            continue
        try:
            length = parse_duration(wait.text).roughly()
        except ValueError as fault:
            yield look.say("T301", wait.path, str(fault))
            continue
        repeats = "every" in wait.path[-2:]
        if repeats and length < MINUTE:
            yield look.say("T305", wait.path, f"every {wait.text} is more often than once a minute")
        elif not length and wait.path == ("goal", "within"):
            yield look.say("T301", wait.path, f"{wait.text} is no time at all: everybody would miss the goal at once")


def _window(look: CheckContext) -> Iterator[Problem]:
    """A timer that rings at the earliest when the goal's time has passed never rings at all."""
    goal = look.journey.goal
    within = duration_or_none(goal.within) if goal is not None and goal.within is not None else None
    if within is None:
        return
    earliest = _arrivals(look)
    for reaction in look.reactions:
        delay = duration_or_none(reaction.by) if reaction.trigger in {"after", "every"} else None
        begin = timedelta() if reaction.state is None else earliest.get(reaction.state)
        if delay is None or begin is None or begin + _least(delay) < _most(within):
            continue
        since = "" if not begin else f" in a state that is reached after {begin.days} days at the earliest"
        what = f"{reaction.by}{since} is not before the goal's {goal.within if goal else ''}"
        yield look.say("T302", reaction.path, what)


def _arrivals(look: CheckContext) -> dict[str, timedelta]:
    """For each state, the least time after the run's beginning at which somebody can be in it."""
    found: dict[str, timedelta] = {}
    todo: list[tuple[timedelta, str]] = [(timedelta(), look.journey.start)]
    for reaction in look.reactions:
        if reaction.state is None:
            todo.extend((_passes(reaction.trigger, reaction.by), move.to) for move in reaction.moves if move.to)
    heapq.heapify(todo)
    while todo:
        at, name = heapq.heappop(todo)
        if name in found or name not in look.journey.states:
            continue
        found[name] = at
        for reaction in look.reactions:
            if reaction.state == name:
                later = at + _passes(reaction.trigger, reaction.by)
                for move in reaction.moves:
                    if move.to is not None:
                        heapq.heappush(todo, (later, move.to))
    return found


def _passes(trigger: str, by: str) -> timedelta:
    """The least time that passes until this reaction: none for a signal, a date or a rhythm."""
    delay = duration_or_none(by) if trigger in {"after", "every"} else None
    return _least(delay) if delay is not None else timedelta()


def _anchors(look: CheckContext) -> Iterator[Problem]:
    for reaction in look.reactions:
        anchor = reaction.moves[0]
        if not isinstance(anchor, d.Anchor):
            continue
        if anchor.before is not None and anchor.after is not None:
            yield look.say("T303", reaction.path, f"it stands {anchor.before} before and {anchor.after} after its date")
        if anchor.past == "next" and anchor.every is None:
            yield look.say("T304", (*reaction.path, "past"), "`past: next` needs `every`")
    places: list[tuple[Path, d.Reacting]] = [((), look.journey)]
    places += [(("states", name), state) for name, state in look.journey.states.items()]
    for path, place in places:
        seen: set[str] = set()
        for index, anchor in enumerate(place.at):
            if anchor.name in seen:
                yield look.say(
                    "T306", (*path, "at", index, "name"), f"{anchor.name} is the name of another anchor here"
                )
            seen |= {anchor.name} if anchor.name else set()


def _circling(look: CheckContext) -> Iterator[Problem]:
    """States that timers of less than a minute lead round in a circle, without any signal."""
    graph: dict[str, set[str]] = {}
    quick = []
    for reaction in look.reactions:
        delay = duration_or_none(reaction.by) if reaction.trigger == "after" else None
        if delay is None or _most(delay) >= MINUTE or reaction.state is None:
            continue
        quick.append(reaction)
        graph.setdefault(reaction.state, set()).update(move.to for move in reaction.moves if move.to is not None)
    closed = {state: reachable_states(graph, [state]) for state in graph}
    for reaction in quick:
        state = reaction.state or ""
        if any(state in closed.get(move.to or "", {move.to}) for move in reaction.moves):
            yield look.say(
                "T207", reaction.path, f"after {reaction.by} it comes back to {state} with nothing in between"
            )
