"""Why a person never got a message, also when nothing was ever planned: the first thing in the way, in each journey that sends it.

Read from the definition and what is known of the person now: whether they are in the journey, in the state that says it,
and what the message's own condition and the gate make of them. Each obstacle names the change that would take it away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from journeys import definition as d
from journeys.chart import Chart
from journeys.entry import PastRun, Refused, may_enter
from journeys.occurrences import Facts
from journeys.walk import Doing, actions_of, reactions_of

ObstacleKind = Literal["not_entered", "ended", "elsewhere", "not_yet", "guard", "gate"]


@dataclass(frozen=True, slots=True)
class Been:
    """A run of this person in a journey, as its row has it."""

    run: str
    epoch: int
    state: str | None
    since: datetime | None
    is_open: bool
    outcome: str | None = None
    ended_at: datetime | None = None
    variables: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """The last event of a name that was accepted for this person."""

    at: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What stands in the way in one journey: `code` for a machine, `what` and `change` for a person, `since` when."""

    journey: str
    action: str
    code: ObstacleKind
    what: str
    change: str
    since: datetime | None = None


def obstacles(
    chart: Chart, template: str, runs: Sequence[Been], facts: Facts, heard: Mapping[str, Heard], now: datetime
) -> tuple[Obstacle, ...]:
    """What stands in the way of each action of this journey that sends the template; of several only the nearest."""
    found = []
    for doing in actions_of(chart.spec):
        if isinstance(doing.action, d.Send) and doing.action.send == template:
            name = d.action_name(doing.action)
            code, what, change, since = _nearest(chart, doing, runs, facts, heard, now)
            found.append(Obstacle(chart.key, name, code, what, change, since))
    return tuple(found)


Found = tuple[ObstacleKind, str, str, datetime | None]


def _nearest(
    chart: Chart, doing: Doing, runs: Sequence[Been], facts: Facts, heard: Mapping[str, Heard], now: datetime
) -> Found:
    run = next((each for each in runs if each.is_open), None)
    if run is None:
        return _outside(chart, runs, facts, heard, now)
    if doing.state is not None and run.state != doing.state:
        return _elsewhere(chart, doing.state, run)
    reaction = doing.reaction
    if reaction is not None:
        waits = f"on {reaction.by}" if reaction.trigger == "on" else f"{reaction.trigger} {reaction.by}"
        change = f"track {reaction.by}" if reaction.trigger == "on" else f"wait: it is sent {waits}"
        where = f"they are in {run.state}" if doing.state is not None else "they are in the journey"
        return "not_yet", f"{where}, and it is sent {waits}", change, run.since
    refused = _guard(chart, doing, facts, run)
    if refused:
        return (
            "guard",
            f"it is sent on entering {run.state}, where {refused}",
            f"make {doing.action.when} true before",
            run.since,
        )
    return "gate", f"it was asked for when they entered {run.state}: the gate has decided", "see its verdict", run.since


def _outside(chart: Chart, runs: Sequence[Been], facts: Facts, heard: Mapping[str, Heard], now: datetime) -> Found:
    """No run is open: why none began, or how the last one ended."""
    past = [PastRun(each.epoch, each.is_open, each.ended_at) for each in runs]
    told = [(name, heard[name]) for name in chart.spec.entry.on if name in heard]
    if not told:
        names = " or ".join(chart.spec.entry.on)
        return "not_entered", f"they never entered: no {names} was accepted", f"track {names}", None
    name, last = max(told, key=lambda item: item[1].at)
    verdict = may_enter(chart, name, last.data, facts, past, now)
    if runs:
        ended = max(runs, key=lambda each: each.epoch)
        again = verdict.reason if isinstance(verdict, Refused) else f"the next {name} begins another"
        change = f"`entry.again` is {chart.spec.entry.again!r}" if isinstance(verdict, Refused) else f"track {name}"
        return "ended", f"their run ended as {ended.outcome}; {again}", change, ended.ended_at
    if isinstance(verdict, Refused):
        return (
            "not_entered",
            f"{name} did not let them in: {verdict.reason}",
            f"make it true, then track {name}",
            last.at,
        )
    return (
        "not_entered",
        f"{name} came before the journey was published or knew this of them",
        f"track {name} again",
        last.at,
    )


def _elsewhere(chart: Chart, wanted: str, run: Been) -> Found:
    ways = sorted({way for state, way in _ways(chart.spec, wanted) if state in (run.state, None)})
    from_here = f"; from there {' or '.join(ways)} leads to it" if ways else "; nothing leads to it from there directly"
    all_ways = sorted({f"{way} in {state}" if state else way for state, way in _ways(chart.spec, wanted)})
    change = ways[0] if ways else (" or ".join(all_ways) or "nothing leads there")
    return "elsewhere", f"they are in {run.state}, and it is sent in {wanted}{from_here}", change, run.since


def _ways(journey: d.Journey, wanted: str) -> Iterator[tuple[str | None, str]]:
    """The state in which, and the way by which, a state is entered."""
    for reaction in reactions_of(journey):
        for _, move in reaction.each():
            if move.to == wanted:
                guard = f" when {move.when}" if move.when is not None else ""
                lead = "track" if reaction.trigger == "on" else reaction.trigger
                yield reaction.state, f"{lead} {reaction.by}{guard}"


def _guard(chart: Chart, doing: Doing, facts: Facts, run: Been) -> str:
    """Why the message's own condition does not hold now, if it does not."""

    def look(field: str) -> Any:
        scope, _, name = field.partition(".")
        known = run.variables or {} if scope == "journey" else facts.get(scope, {})
        return known.get(name)

    name = d.action_name(doing.action)
    acts = chart.places[doing.state].do if doing.state is not None else ()
    for act in acts:
        if act.name == name and act.guard is not None:
            holds, why = act.guard.holds(look)
            return "" if holds else why
    return ""
