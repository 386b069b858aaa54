"""The shortest way from where a person is in a journey to a message of it: a search through `decide` itself.

What is named as the next step was tried: taken one after another, the steps lead to the message being asked for. Steps that
undo what the person has (a run that must end first) are the last that are thought of.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count

from journeys.decision.chart import Chart
from journeys.whynot.gate_obstacles import Opening
from journeys.whynot.next_steps import Situation, Step, next_timer, steps_from

MOST_LOOKED_AT = 400
GATE = "the gate would not take it in time: "
Opens = Callable[[datetime], Opening]


@dataclass(order=True, slots=True)
class _Way:
    cost: int
    number: int
    spot: Situation = field(compare=False)
    first: Step | None = field(compare=False, default=None)
    arrives: bool = field(compare=False, default=False)


def next_step(chart: Chart, action: str, template: str, spot: Situation, opens: Opens) -> Step | None:
    """The first step of the cheapest way; None if none is found that leads there.

    `opens` says of an instant when a message asked for then would leave. Where every way comes too early for that, because
    the message is lost or its state left meanwhile, the step is to begin later.
    """
    numbers, seen, early = count(), set[str](), list[_Way]()
    ways = [_Way(0, next(numbers), spot)]
    for _ in range(MOST_LOOKED_AT):
        if not ways:
            break
        way = heapq.heappop(ways)
        if way.arrives and _in_time(way.spot, opens(way.spot.at)):
            return way.first
        if way.arrives:
            early.append(way)
            continue
        name = _name_of(way.spot)
        if name in seen:
            continue
        seen.add(name)
        for step in steps_from(chart, action, template, way.spot):
            heapq.heappush(ways, _Way(way.cost + step.cost, next(numbers), step.to, way.first or step, step.arrives))
    return _later(spot, early, opens)


def _later(spot: Situation, early: list[_Way], opens: Opens) -> Step | None:
    """The cheapest way that nothing has begun yet, begun so much later that it comes in time; else one that comes too early."""
    for way in early:
        if way.first is not None and way.first.change.kind != "wait":
            opening = opens(way.spot.at)
            begin = spot.at + (opening.at - way.spot.at)
            return Step(next_timer(begin), f"{GATE}{opening.why}", replace(spot, at=begin))
    return early[0].first if early else None


def _in_time(spot: Situation, opening: Opening) -> bool:
    """Whether the message leaves, though it may wait: not if it is lost, or the next that happens by itself comes first."""
    if opening.at <= spot.at:
        return True
    due = spot.state.next_due() if spot.state is not None else None
    return opening.waits and (due is None or due > opening.at)


def _name_of(spot: Situation) -> str:
    """What tells two spots apart: not the time, of which there is always more, unless it must pass before they may enter."""
    state = spot.state
    at = spot.at if state is None else (state.state, sorted(state.timers), state.variables, state.paused_at is not None)
    return repr((at, len(spot.past), spot.may_again, {scope: dict(known) for scope, known in spot.facts.items()}))
