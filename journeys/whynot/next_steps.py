"""What could happen next to a person in a journey, each with what it would take: tried by `decide`, so that it is so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from journeys.decision.chart import Chart, ChartTransition, CompiledAction, EndRule
from journeys.decision.decide import decide
from journeys.decision.effects import Effect, SendMessage
from journeys.decision.entry import EntryRefused, PastRun, may_enter
from journeys.decision.occurrences import (
    Cancelled,
    Entered,
    Facts,
    FieldsChanged,
    Occurrence,
    Resumed,
    Signal,
    TimerDue,
)
from journeys.decision.state import RunState
from journeys.gate.requests import still_holds
from journeys.language.conditions import Condition, Lookup
from journeys.whynot.changes import SuggestedChange
from journeys.whynot.satisfying_values import satisfying_values

STEP, ENDING, DRASTIC = 1, 8, 12
"""What a step costs: one that ends a run is taken only where nothing gentler leads there."""
FACTS = ("profile", "account")


@dataclass(frozen=True, slots=True)
class Situation:
    """Where a person is in one journey: the open run's state or None, their runs of one case, what is known of them."""

    state: RunState | None
    past: tuple[PastRun, ...]
    facts: Facts
    at: datetime
    case: str = ""
    may_again: bool = False

    def look(self, chart: Chart, event: Mapping[str, Any]) -> Lookup:
        """Fields as a condition of the run reads them now."""

        def found(name: str) -> Any:
            scope, _, rest = name.partition(".")
            match scope:
                case "now":
                    return self.at
                case "event":
                    return event.get(rest)
                case "journey":
                    return self._of_run(rest, chart)
                case _:
                    return self.facts.get(scope, {}).get(rest)

        return found

    def _of_run(self, name: str, chart: Chart) -> Any:
        if self.state is None:
            return None
        known = {"state": self.state.state, "visits": self.state.visit, "key": chart.key}
        return known.get(name, self.state.variables.get(name))


@dataclass(frozen=True, slots=True)
class Step:
    """One change, why it is needed, where it leads, and whether the message is asked for then."""

    change: SuggestedChange
    why: str
    to: Situation
    arrives: bool = False
    cost: int = STEP


def steps_from(chart: Chart, action: str, template: str, spot: Situation) -> Iterator[Step]:
    walker = _Walker(chart, action, template, spot)
    if spot.state is None:
        yield from walker.entering()
    elif not spot.state.state:
        yield walker.beginning()
    elif spot.state.paused_at is not None:
        yield from walker.resuming()
    else:
        yield from walker.hearing()
        yield from walker.waiting()
        yield from walker.dating()
        yield from walker.cancelling()


class _Walker:
    """All that could happen next at one spot."""

    def __init__(self, chart: Chart, action: str, template: str, spot: Situation) -> None:
        self.chart, self.action, self.template, self.spot = chart, action, template, spot

    # -- entry -------------------------------------------------------------------------------------------------------

    def entering(self) -> Iterator[Step]:
        for stop in self.chart.entry:
            guards = [stop.guard, *self._guards_at(self.chart.spec.start)]
            for data, facts, why in self._values(guards):
                if facts:
                    yield self._fact(facts, why)
                else:
                    yield from self._enter(stop, data)

    def _enter(self, stop: EndRule, data: dict[str, Any]) -> Iterator[Step]:
        spot, chart = self.spot, self.chart
        if chart.spec.case is not None:
            data = {**data, chart.spec.case: spot.case or "1"}
        past = () if spot.may_again else spot.past
        refused = may_enter(chart, stop.on, data, spot.facts, past, spot.at)
        if isinstance(refused, EntryRefused):
            yield from self._again(refused)
            return
        came = Entered(spot.at, stop.on, chart.kept(stop.on, data), spot.facts)
        change = SuggestedChange("track", f"track {stop.on}", {"signal": stop.on, "data": data})
        yield self._decided(RunState(), came, change, f"no {stop.on} has let them in")

    def _again(self, refused: EntryRefused) -> Iterator[Step]:
        spot, chart = self.spot, self.chart
        ended = max((run.ended_at for run in spot.past if run.ended_at is not None), default=None)
        if chart.entry_again is not None and ended is not None and chart.entry_again.after(ended) > spot.at:
            until = chart.entry_again.after(ended)
            yield Step(next_timer(until), refused.reason, replace(spot, at=until))
        elif chart.spec.entry.again == "never":
            change = SuggestedChange("allow_again", "publish it with `entry.again: always`", {"journey": chart.key})
            yield Step(change, refused.reason, replace(spot, may_again=True), cost=DRASTIC)

    def beginning(self) -> Step:
        """Their run has been opened and its first decision is not told yet."""
        came = Entered(self.spot.at, self.chart.entry[0].on, {}, self.spot.facts)
        return self._decided(RunState(), came, next_timer(self.spot.at), "their run has just begun")

    # -- an open run -------------------------------------------------------------------------------------------------

    def hearing(self) -> Iterator[Step]:
        assert self.spot.state is not None
        here = self.chart.places[self.spot.state.state]
        for place in (here, self.chart.everywhere):
            for name, moves in place.on.items():
                if name.rpartition(".")[2] not in {"sent", "withheld", "failed", "overdue"}:
                    for move in moves:
                        yield from self._heard(name, self._guards_of(move), STEP)
        for stop in (*self.chart.exits, *self.chart.goal):
            yield from self._heard(stop.on, [stop.guard], ENDING)

    def _heard(self, name: str, guards: list[Condition | None], cost: int) -> Iterator[Step]:
        assert self.spot.state is not None
        for data, facts, why in self._values(guards):
            if facts:
                yield self._fact(facts, why)
                continue
            if self.chart.spec.case is not None:
                data[self.chart.spec.case] = self.spot.case
            came = Signal(self.spot.at, name, self.chart.kept(name, data), self.spot.facts)
            change = SuggestedChange("track", f"track {name}", {"signal": name, "data": data})
            yield self._decided(self.spot.state, came, change, f"{name} has not come", cost)

    def waiting(self) -> Iterator[Step]:
        state = self.spot.state
        assert state is not None
        due = state.next_due()
        if due is not None:
            until = max(due, self.spot.at)
            yield self._decided(state, TimerDue(until), next_timer(until), "its time has not come")
        for place in (self.chart.places[state.state], self.chart.everywhere):
            for timer in place.timers:
                for move in timer.moves:
                    for data, facts, why in self._values(self._guards_of(move)):
                        if facts and not data:
                            yield self._fact(facts, why)

    def dating(self) -> Iterator[Step]:
        """An anchor whose date is a field that is not known, or whose window is past."""
        state = self.spot.state
        assert state is not None
        for place in (self.chart.places[state.state], self.chart.everywhere):
            for timer in place.timers:
                source = timer.date.source if timer.date is not None else ""
                if timer.id in state.timers or source.partition(".")[0] not in FACTS or not source.isascii():
                    continue
                if timer.date is None or [name for name, _ in timer.date.reads] != [source]:
                    continue
                date = self.spot.at + timedelta(days=1)
                date = timer.before.after(date) if timer.before is not None else date
                yield self._fact({source: date.isoformat()}, f"{timer.label} waits for {source}")

    def resuming(self) -> Iterator[Step]:
        assert self.spot.state is not None
        change = SuggestedChange("resume_run", "resume the run", {"journey": self.chart.key})
        yield self._decided(self.spot.state, Resumed(self.spot.at), change, "the run is paused")

    def cancelling(self) -> Iterator[Step]:
        assert self.spot.state is not None
        change = SuggestedChange("cancel_run", "end the run", {"journey": self.chart.key})
        yield self._decided(self.spot.state, Cancelled(self.spot.at), change, "nothing leads there from here", DRASTIC)

    # -- values ------------------------------------------------------------------------------------------------------

    def _guards_of(self, move: ChartTransition) -> list[Condition | None]:
        return [move.guard, *self._guards_in(move.do), *(self._guards_at(move.to) if move.to is not None else ())]

    def _guards_at(self, state: str) -> list[Condition | None]:
        return self._guards_in(self.chart.places[state].do)

    def _guards_in(self, acts: tuple[CompiledAction, ...]) -> list[Condition | None]:
        return [act.guard for act in acts if act.name == self.action and act.guard is not None]

    def _values(self, guards: list[Condition | None]) -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
        """The event's data that makes them true, or the fields that must change first, and why."""
        data: dict[str, Any] = {}
        for guard in guards:
            if guard is None:
                continue
            look = self.spot.look(self.chart, data)
            found = satisfying_values(guard, look, ("event",))
            if found is None:
                found = satisfying_values(guard, look, ("event", *FACTS))
                facts = {name: value for name, value in (found or {}).items() if not name.startswith("event.")}
                if facts:
                    yield {}, facts, guard.holds(look)[1]
                return
            data |= {name.removeprefix("event."): value for name, value in found.items()}
        yield data, {}, ""

    def _fact(self, facts: Mapping[str, Any], why: str) -> Step:
        """Of one scope at a time, since a person and an account are told of by different calls."""
        scope = next(iter(facts)).partition(".")[0]
        traits = {name.partition(".")[2]: value for name, value in facts.items() if name.startswith(f"{scope}.")}
        known = {**self.spot.facts, scope: {**self.spot.facts.get(scope, {}), **traits}}
        values = ", ".join(f"{scope}.{name} is {value!r}" for name, value in traits.items())
        change = SuggestedChange(
            "identify" if scope == "profile" else "group", f"tell that {values}", {"traits": traits}
        )
        to = replace(self.spot, facts=known)
        if self.spot.state is None:
            return Step(change, why, to)
        return self._decided(self.spot.state, FieldsChanged(self.spot.at, known), change, why, facts=known)

    def _decided(
        self,
        state: RunState,
        occurrence: Occurrence,
        change: SuggestedChange,
        why: str,
        cost: int = STEP,
        facts: Facts | None = None,
    ) -> Step:
        spot, decision = self.spot, decide(self.chart, state, occurrence)
        begun = not state.state
        epoch = max((run.epoch for run in spot.past), default=0) + (1 if begun else 0)
        ended = None if decision.state.is_open else occurrence.at
        past = (*(run for run in spot.past if run.epoch != epoch), PastRun(epoch, ended is None, ended))
        after = decision.state if ended is None else None
        to = replace(spot, state=after, past=past, at=occurrence.at, facts=facts or spot.facts)
        return Step(change, why, to, any(self._is_it(effect, decision.state) for effect in decision.effects), cost)

    def _is_it(self, effect: Effect, state: RunState) -> bool:
        """Asked for, and not left again in the same decision."""
        return (
            isinstance(effect, SendMessage)
            and (effect.action, effect.template) == (self.action, self.template)
            and still_holds(effect, state)
        )


def next_timer(until: datetime) -> SuggestedChange:
    return SuggestedChange("wait", f"wait until {until:%Y-%m-%d %H:%M} UTC", {"until": until})
