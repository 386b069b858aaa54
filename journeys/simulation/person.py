"""Simulated person: recorded events through entry, `decide` and the gate session.

This is what the store, the relay, the workflow and the gate do together, without any of them: whatever is decided here
is decided by the same functions, so the simulator and the backtest cannot drift from the live system. `now` of the
gate is the instant of what happens, since here nothing lags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from journeys.consent.opt_out_keywords import keyword_of
from journeys.decision.chart import Chart
from journeys.decision.decide import decide
from journeys.decision.effects import (
    ChangedAudience,
    ClosedTask,
    Effect,
    EmittedSignal,
    EscalatedTask,
    Finished,
    LogLine,
    OpenedTask,
    SendMessage,
    WithdrawnMessages,
)
from journeys.decision.entry import EntryAllowed, PastRun, case_of, enters_on, may_enter
from journeys.decision.occurrences import Cancelled, Entered, FieldsChanged, Occurrence, OptedOut, Signal, TimerDue
from journeys.gate.consent import has_opted_out
from journeys.language.signal_names import CONVERSATION_CLOSED, MESSAGE_REPLIED
from journeys.simulation.gate import OF_CONTEXT, InMemoryGate
from journeys.simulation.recording import RecordedEvent
from journeys.simulation.timeline import DeferredMessage, NotEntered, SimulatedRun, TimelineLine

MOST_AT_ONCE = 1_000
"""Signals that signals may cause at one instant; journeys that answer each other for ever are stopped there."""


@dataclass(slots=True)
class SimulatedPerson(InMemoryGate):
    """A subject's runs, what is known of them, what is queued for them; `story` is all that was decided, in order."""

    runs: dict[tuple[str, str], SimulatedRun] = field(default_factory=dict)
    open: list[SimulatedRun] = field(default_factory=list)
    tasks: int = 0

    # -- time ----------------------------------------------------------------------------------------------------

    def until(self, at: datetime) -> None:
        """Let time pass: everything due at or before `at`, each at its own instant, timers before messages."""
        while (due := self.next_due()) is not None and due <= at:
            for run in self.open:
                if run.due == due:
                    self.step(run, TimerDue(due))
                    break
            else:
                self.settle_due(due)
            self.drain(due)

    def next_due(self) -> datetime | None:
        """The instant at which something is due next."""
        earliest: datetime | None = None
        for run in self.open:
            if run.due is not None and (earliest is None or run.due < earliest):
                earliest = run.due
        for queued in self.queue:
            if earliest is None or queued.due < earliest:
                earliest = queued.due
        return earliest

    # -- events --------------------------------------------------------------------------------------------------

    def happen(self, event: RecordedEvent) -> None:
        """Take in one accepted event, after everything that was due by then."""
        self.until(event.at)
        match event.kind:
            case "signal":
                self.hear(event.name, event.data, event.at)
            case "profile" | "account":
                self.learn(event.kind, event.data, event.at)
            case "consent":
                self.consent(event.data, event.at)
            case "operator":
                self.operate(event.name, event.data, event.at)
        self.drain(event.at)
        self.until(event.at)

    def learn(self, scope: Literal["profile", "account"], traits: Mapping[str, Any], at: datetime) -> None:
        """Fields have changed: runs that read one of them are told."""
        known = self.facts[scope]
        changed = {name for name, value in traits.items() if known.get(name) != value}
        if not changed:
            return
        self.facts = {**self.facts, scope: {**known, **traits}}
        if changed & OF_CONTEXT:
            addresses, zone = self.addresses(), self.zone()
            self.contexts = {
                to: replace(context, addresses=addresses, zone=zone) for to, context in self.contexts.items()
            }
        for run in tuple(self.open):
            if not changed.isdisjoint(run.chart.fields[scope]):
                self.tell(run, FieldsChanged(at, self.facts))

    def tell(self, run: SimulatedRun, facts: FieldsChanged) -> None:
        """Dates move at once; other fields decide nothing by themselves, so they are told with what comes next."""
        if run.chart.key in self.world.anchored:
            self.step(run, facts)
        else:
            run.untold = facts

    def hear(self, name: str, data: Mapping[str, Any], at: datetime) -> None:
        """A signal reaches the open run of its case in each journey, or opens one."""
        if name in self.world.of_tickets:
            self.tickets = self.world.policy.urgent_ticket.open_after(self.tickets, name, data)
            urgent = bool(self.tickets)
            for ticket in self.tickets:
                self.outside.since.setdefault(("ticket", ticket), at)
            self.contexts = {to: replace(context, urgent_open=urgent) for to, context in self.contexts.items()}
            if name in self.world.policy.urgent_ticket.resolved_by:
                self.wake(at)
        wish = keyword_of(str(data.get("text") or "")) if name == MESSAGE_REPLIED else None
        if wish == "stop" and self.last_sent(data)[1] == "email":
            self.consent({"channel": "email", "granted": False}, at)
        elif name in {CONVERSATION_CLOSED, MESSAGE_REPLIED} and wish is None:
            self.answer(name, data, at)
        for chart in self.world.hearing.get(name, ()):
            case = case_of(chart, data)
            if case is None:
                continue
            run = self.runs.get((chart.key, case))
            if run is not None and run.state.is_open and name in chart.signals:
                self.step(run, Signal(at, name, chart.kept(name, data), self.facts))
            elif enters_on(chart, name):
                self.enter(chart, run, name, data, at)

    def operate(self, what: str, data: Mapping[str, Any], at: datetime) -> None:
        """Somebody of ours has done something around their journeys."""
        self.outside.happened(what, data, at)
        for run in tuple(self.open) if what == "cancel_run" else ():
            if data.get("journey") in (None, run.chart.key):
                self.step(run, Cancelled(at, str(data.get("by") or ""), str(data.get("why") or "")))

    def wake(self, at: datetime) -> None:
        """A ticket was resolved: what waited for that is judged again at once."""
        for queued in self.queue:
            if "urgent_ticket" in queued.codes:
                queued.due = min(queued.due, at)
                queued.waiting = replace(queued.waiting, due=queued.due)

    def enter(self, chart: Chart, last: SimulatedRun | None, name: str, data: Mapping[str, Any], at: datetime) -> None:
        previous = (PastRun(last.epoch, last.state.is_open, last.ended_at),) if last is not None else ()
        verdict = may_enter(chart, name, data, self.facts, previous, at)
        if not isinstance(verdict, EntryAllowed):
            self.story.append((None, NotEntered(at, chart.key, name, verdict.reason)))
            return
        run = SimulatedRun(chart, verdict.case, verdict.epoch)
        self.runs[chart.key, verdict.case] = run
        self.open.append(run)
        self.step(run, Entered(at, name, chart.kept(name, data), self.facts))

    def consent(self, data: Mapping[str, Any], at: datetime) -> None:
        """They said yes or no; a no that leaves a journey no channel ends its runs (C5)."""
        granted = data.get("granted") is True
        place = (str(data.get("channel") or "*"), str(data.get("topic") or "*"))
        if "granted" in data and data["granted"] is None:  # taken back: neither a yes nor a no
            self.consents = {each: said for each, said in self.consents.items() if each != place}
        else:
            self.consents = {**self.consents, place: granted}
        self.outside.since["consent", *place] = at
        self.contexts = {to: replace(context, consents=self.consents) for to, context in self.contexts.items()}
        for run in tuple(self.open):
            if not granted and has_opted_out(self.world.policy, run.chart, self.consents):
                self.step(run, OptedOut(at))

    def drain(self, at: datetime) -> None:
        """Signals that journeys caused come in by the front door, like all others."""
        for _ in range(MOST_AT_ONCE):
            if not self.fed:
                return
            run, name, data = self.fed.popleft()
            if run is None:
                self.hear(name, data, at)
            elif run.state.is_open:
                self.step(run, Signal(at, name, data, self.facts))
        self.fed.clear()

    # -- decisions -----------------------------------------------------------------------------------------------

    def step(self, run: SimulatedRun, occurrence: Occurrence) -> None:
        """One decision and what it asks of the world."""
        if run.untold is not None:
            if not isinstance(occurrence, Signal):
                run.state = decide(run.chart, run.state, run.untold).state
            run.untold = None
        decision = decide(run.chart, run.state, occurrence)
        run.state = decision.state
        run.due = decision.state.next_due()
        for line in decision.log:
            self.story.append((run, line))
        self.apply(run, decision.effects, occurrence.at)

    def apply(self, run: SimulatedRun, effects: Sequence[Effect], now: datetime) -> None:
        """All of a step's messages are decided in one pass; what follows comes in the order of the effects."""
        asked = [
            self.asked(run, effect, to)
            for effect in effects
            if isinstance(effect, SendMessage)
            for to in effect.roles or ("",)
        ]
        decisions = self.decide(asked, now, self.withdrawn(run, effects)) if asked else {}
        for effect in effects:
            match effect:
                case SendMessage():
                    for message in asked:
                        if message.message is effect:
                            self.follow(message, decisions.get(message.request.key), now)
                case WithdrawnMessages():
                    self.withdraw(run, effect)
                case EmittedSignal():
                    self.fed.append((None, effect.name, effect.data))
                case Finished():
                    run.ended_at = effect.at
                    self.open.remove(run)
                case OpenedTask():
                    self.tasks += 1
                case ClosedTask() | EscalatedTask() | ChangedAudience():
                    pass  # a person's work and other tools' lists change nothing here

    def withdrawn(self, run: SimulatedRun, effects: Sequence[Effect]) -> list[DeferredMessage]:
        """What is queued before a step and withdrawn by it: no message of the step meets it any more."""
        if not self.queue:
            return []
        withdrawals = (effect for effect in effects if isinstance(effect, WithdrawnMessages))
        return [queued for effect in withdrawals for queued in self.withdrawn_by(run, effect)]

    def lines(self) -> list[TimelineLine]:
        """The timeline of every run, in the order in which it was decided."""
        return [
            TimelineLine(run.name, item.at, item.kind, item.about, item.text)
            if isinstance(item, LogLine)
            else TimelineLine(run.name, item.at, item.kind, item.message.action, item.text)
            for run, item in self.story
            if run is not None and not isinstance(item, NotEntered)
        ]
