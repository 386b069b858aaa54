"""Search for the cheapest steps to a message, with `decide` itself.

Every step was tried with `decide`, so the steps in order do request the message. Steps that end a run are tried last.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count

from journeys.decision.chart import Chart
from journeys.whynot.changes import wait_until
from journeys.whynot.gate_obstacles import Opening
from journeys.whynot.next_steps import steps_from
from journeys.whynot.situation import GateClosed, Situation, Step

MAX_EXPANDED = 400
"""Situations that one search expands."""
OpeningAt = Callable[[datetime], Opening]
"""When the gate would send a message that is requested at an instant."""


@dataclass(order=True, slots=True)
class _Path:
    cost: int
    number: int
    situation: Situation = field(compare=False)
    first: Step | None = field(compare=False, default=None)
    requests: bool = field(compare=False, default=False)


def next_step(chart: Chart, action: str, template: str, situation: Situation, opening_at: OpeningAt) -> Step | None:
    """The first step of the cheapest path to the message; None if no path is found.

    Where every path requests the message too early, because it would expire or its state be left before the gate
    sends it, the first step is to wait.
    """
    numbers, seen, early = count(), set[str](), list[_Path]()
    paths = [_Path(0, next(numbers), situation)]
    for _ in range(MAX_EXPANDED):
        if not paths:
            break
        path = heapq.heappop(paths)
        if path.requests and _sent_in_time(path.situation, opening_at(path.situation.at)):
            return path.first
        if path.requests:
            early.append(path)
            continue
        key = _key(path.situation)
        if key in seen:
            continue
        seen.add(key)
        for step in steps_from(chart, action, template, path.situation):
            following = _Path(path.cost + step.cost, next(numbers), step.to, path.first or step, step.requests)
            heapq.heappush(paths, following)
            wait = _wait_before(path.situation, step, opening_at)
            if wait is not None:
                cost, to = path.cost + wait.cost + step.cost, replace(step.to, at=wait.to.at)
                heapq.heappush(paths, _Path(cost, next(numbers), to, path.first or wait, requests=True))
    return _later(situation, early, opening_at)


def _wait_before(situation: Situation, step: Step, opening_at: OpeningAt) -> Step | None:
    """The wait after which a step requests the message in time; None if it needs none or the run moves meanwhile."""
    if not step.requests or step.to.at != situation.at:
        return None
    opening = opening_at(situation.at)
    due = situation.state.next_due() if situation.state is not None else None
    if _sent_in_time(step.to, opening) or (due is not None and due <= opening.at):
        return None
    return _closed_until(opening.at, opening, situation)


def _closed_until(at: datetime, opening: Opening, situation: Situation) -> Step:
    because = f": {opening.reason.text}" if opening.reason is not None else ""
    why = f"the gate could not send the message in time{because}"
    return Step(wait_until(at), why, replace(situation, at=at), cause=GateClosed())


def _later(situation: Situation, early: list[_Path], opening_at: OpeningAt) -> Step | None:
    """Wait until the cheapest path that begins with an event ends in time; else the first step of another path."""
    for path in early:
        if path.first is not None and path.first.change.kind != "wait":
            opening = opening_at(path.situation.at)
            return _closed_until(situation.at + (opening.at - path.situation.at), opening, situation)
    return early[0].first if early else None


def _sent_in_time(situation: Situation, opening: Opening) -> bool:
    """Whether the gate sends the message, perhaps later, before it is lost or the run's next timer is due."""
    if opening.at <= situation.at:
        return True
    due = situation.state.next_due() if situation.state is not None else None
    return opening.waits and (due is None or due > opening.at)


def _key(situation: Situation) -> str:
    """The identity of a situation; the instant is part of it only without an open run, for entry may need it."""
    state = situation.state
    where = (
        situation.at
        if state is None
        else (state.state, sorted(state.timers), state.variables, state.paused_at is not None)
    )
    facts = {scope: dict(known) for scope, known in situation.facts.items()}
    return repr((where, len(situation.past), situation.may_again, facts))
