"""Possible next events for a person in a journey, each verified with `decide`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
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
from journeys.language.conditions import Condition
from journeys.whynot.changes import SuggestedChange, wait_until
from journeys.whynot.satisfying_values import satisfying_values
from journeys.whynot.situation import DRASTIC, ENDS_RUN, ORDINARY, FalseCondition, Situation, Step

SCOPES = ("profile", "account")
_OUTCOMES = frozenset({"sent", "withheld", "failed", "overdue"})
"""Last parts of signals that only Tenure sends: no suggested step sends one."""


def steps_from(chart: Chart, action: str, template: str, situation: Situation) -> Iterator[Step]:
    """Every possible next step, verified with `decide`; `requests` marks those that request this action's message."""
    steps = _Steps(chart, action, template, situation)
    state = situation.state
    if state is None:
        yield from steps.enter()
    elif not state.state:
        yield steps.begin()
    elif state.paused_at is not None:
        yield steps.resume(state)
    else:
        yield from steps.send_signals(state)
        yield from steps.wait(state)
        yield from steps.set_anchor_dates(state)
        yield steps.cancel(state)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """Data of an event that makes conditions true; or fields that must change first, and the condition behind that."""

    data: dict[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    cause: FalseCondition | None = None


class _Steps:
    """The steps from one situation."""

    def __init__(self, chart: Chart, action: str, template: str, situation: Situation) -> None:
        self.chart, self.action, self.template, self.situation = chart, action, template, situation

    # -- entry -------------------------------------------------------------------------------------------------------

    def enter(self) -> Iterator[Step]:
        for rule in self.chart.entry:
            for attempt in self._satisfy([rule.guard, *self._guards_at(self.chart.spec.start)]):
                if attempt.fields:
                    yield self._set_fields(attempt)
                else:
                    yield from self._enter_by(rule, attempt.data)

    def _enter_by(self, rule: EndRule, data: dict[str, Any]) -> Iterator[Step]:
        situation, chart = self.situation, self.chart
        if chart.spec.case is not None:
            data = {**data, chart.spec.case: situation.case or "1"}
        past = () if situation.may_again else situation.past
        verdict = may_enter(chart, rule.on, data, situation.facts, past, situation.at)
        if isinstance(verdict, EntryRefused):
            yield from self._enter_again(verdict)
            return
        entered = Entered(situation.at, rule.on, chart.kept(rule.on, data), situation.facts)
        change = SuggestedChange("track", f"track {rule.on}", {"signal": rule.on, "data": data})
        yield self._decided(RunState(), entered, change, f"no {rule.on} has started a run")

    def _enter_again(self, refused: EntryRefused) -> Iterator[Step]:
        situation, chart = self.situation, self.chart
        ended = max((run.ended_at for run in situation.past if run.ended_at is not None), default=None)
        if chart.limits.again is not None and ended is not None and chart.limits.again.after(ended) > situation.at:
            until = chart.limits.again.after(ended)
            yield Step(wait_until(until), refused.reason, replace(situation, at=until))
        elif chart.spec.entry.again == "never":
            text = "publish the journey with `entry.again: always`"
            change = SuggestedChange("allow_again", text, {"journey": chart.key})
            yield Step(change, refused.reason, replace(situation, may_again=True), cost=DRASTIC)

    def begin(self) -> Step:
        """The run has been opened and its first decision is not stored yet."""
        entered = Entered(self.situation.at, self.chart.entry[0].on, {}, self.situation.facts)
        return self._decided(RunState(), entered, wait_until(self.situation.at), "the run has just begun")

    # -- an open run -------------------------------------------------------------------------------------------------

    def send_signals(self, state: RunState) -> Iterator[Step]:
        for node in (self.chart.states[state.state], self.chart.root):
            for name, transitions in node.on.items():
                if name.rpartition(".")[2] not in _OUTCOMES:
                    for transition in transitions:
                        yield from self._send_signal(state, name, self._guards_of(transition), ORDINARY)
        for rule in (*self.chart.exits, *self.chart.goal):
            yield from self._send_signal(state, rule.on, [rule.guard], ENDS_RUN)

    def _send_signal(self, state: RunState, name: str, guards: list[Condition | None], cost: int) -> Iterator[Step]:
        for attempt in self._satisfy(guards):
            if attempt.fields:
                yield self._set_fields(attempt)
                continue
            data = attempt.data
            if self.chart.spec.case is not None:
                data[self.chart.spec.case] = self.situation.case
            signal = Signal(self.situation.at, name, self.chart.kept(name, data), self.situation.facts)
            change = SuggestedChange("track", f"track {name}", {"signal": name, "data": data})
            yield self._decided(state, signal, change, f"{name} has not been received", cost)

    def wait(self, state: RunState) -> Iterator[Step]:
        due = state.next_due()
        if due is not None:
            until = max(due, self.situation.at)
            yield self._decided(state, TimerDue(until), wait_until(until), "its timer is not due yet")
        for node in (self.chart.states[state.state], self.chart.root):
            for timer in node.timers:
                for transition in timer.transitions:
                    for attempt in self._satisfy(self._guards_of(transition)):
                        if attempt.fields:
                            yield self._set_fields(attempt)

    def set_anchor_dates(self, state: RunState) -> Iterator[Step]:
        """For each anchor that is not armed, because its date is unknown or past: a date that arms it tomorrow."""
        for node in (self.chart.states[state.state], self.chart.root):
            for timer in node.timers:
                source = timer.date.source if timer.date is not None else ""
                if timer.id in state.timers or source.partition(".")[0] not in SCOPES or not source.isascii():
                    continue
                if timer.date is None or [name for name, _ in timer.date.reads] != [source]:
                    continue
                date = self.situation.at + timedelta(days=1)
                date = timer.before.after(date) if timer.before is not None else date
                why = f"{timer.label} waits for {source}"
                yield self._set_fields(_Attempt(fields={source: date.isoformat()}, why=why))

    def resume(self, state: RunState) -> Step:
        change = SuggestedChange("resume_run", "resume the run", {"journey": self.chart.key})
        return self._decided(state, Resumed(self.situation.at), change, "the run is paused")

    def cancel(self, state: RunState) -> Step:
        change = SuggestedChange("cancel_run", "end the run", {"journey": self.chart.key})
        why = "no event leads to the message from this state"
        return self._decided(state, Cancelled(self.situation.at), change, why, DRASTIC)

    # -- values ------------------------------------------------------------------------------------------------------

    def _guards_of(self, transition: ChartTransition) -> list[Condition | None]:
        entered = self._guards_at(transition.to) if transition.to is not None else ()
        return [transition.guard, *self._guards_in(transition.do), *entered]

    def _guards_at(self, state: str) -> list[Condition | None]:
        return self._guards_in(self.chart.states[state].do)

    def _guards_in(self, actions: tuple[CompiledAction, ...]) -> list[Condition | None]:
        return [action.guard for action in actions if action.name == self.action and action.guard is not None]

    def _satisfy(self, guards: list[Condition | None]) -> Iterator[_Attempt]:
        """Attempts that make these conditions true; none if no such values were found."""
        data: dict[str, Any] = {}
        for guard in guards:
            if guard is None:
                continue
            lookup = self.situation.lookup(self.chart, data)
            values = satisfying_values(guard, lookup, ("event",))
            if values is None:
                values = satisfying_values(guard, lookup, ("event", *SCOPES)) or {}
                fields = {name: value for name, value in values.items() if not name.startswith("event.")}
                if fields:
                    yield _Attempt({}, fields, guard.holds(lookup)[1], FalseCondition(guard.source))
                return
            data |= {name.removeprefix("event."): value for name, value in values.items()}
        yield _Attempt(data)

    def _set_fields(self, attempt: _Attempt) -> Step:
        """The step that sets fields of one scope: people and accounts are described by different calls."""
        situation = self.situation
        scope = next(iter(attempt.fields)).partition(".")[0]
        traits = {
            name.partition(".")[2]: value for name, value in attempt.fields.items() if name.startswith(f"{scope}.")
        }
        facts = {**situation.facts, scope: {**situation.facts.get(scope, {}), **traits}}
        text = ", ".join(_setting(f"{scope}.{name}", value) for name, value in traits.items())
        change = SuggestedChange("identify" if scope == "profile" else "group", text, {"traits": traits})
        if situation.state is None:
            return Step(change, attempt.why, replace(situation, facts=facts), cause=attempt.cause)
        changed = FieldsChanged(situation.at, facts)
        step = self._decided(situation.state, changed, change, attempt.why, facts=facts)
        return replace(step, cause=attempt.cause)

    def _decided(
        self,
        state: RunState,
        occurrence: Occurrence,
        change: SuggestedChange,
        why: str,
        cost: int = ORDINARY,
        facts: Facts | None = None,
    ) -> Step:
        situation, decision = self.situation, decide(self.chart, state, occurrence)
        begun = not state.state
        epoch = max((run.epoch for run in situation.past), default=0) + (1 if begun else 0)
        ended = None if decision.state.is_open else occurrence.at
        past = (*(run for run in situation.past if run.epoch != epoch), PastRun(epoch, ended is None, ended))
        after = decision.state if ended is None else None
        to = replace(situation, state=after, past=past, at=occurrence.at, facts=facts or situation.facts)
        return Step(change, why, to, any(self._is_request(e, decision.state) for e in decision.effects), cost)

    def _is_request(self, effect: Effect, state: RunState) -> bool:
        """Whether the effect requests the message, and its state is not left again in the same decision."""
        return (
            isinstance(effect, SendMessage)
            and (effect.action, effect.template) == (self.action, self.template)
            and still_holds(effect, state)
        )


def _setting(field: str, value: Any) -> str:
    return f"clear {field}" if value is None else f"set {field} to {value!r}"
