"""Simulated person: recorded events through entry, `decide` and the gate session.

Entry, `decide` and the gate session are those of the live system, so simulator and backtest agree with it. Events are
read in the order in which they were accepted; the gate's clock is the instant of the event, because there is no lag.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from journeys.simulation.gate import InMemoryGate
from journeys.simulation.recording import RecordedEvent
from journeys.simulation.timeline import DeferredMessage, NotEntered, Scenario, SimulatedRun, Timeline, TimelineLine

MAX_CAUSED_SIGNALS = 1_000
"""Signals caused at one instant before the rest are dropped: journeys may react to each other without end."""


@dataclass(slots=True)
class SimulatedPerson:
    """A subject's runs and their gate; `timeline` has everything that was decided, in order."""

    scenario: Scenario
    timeline: Timeline = field(default_factory=list)
    runs: dict[tuple[str, str], SimulatedRun] = field(default_factory=dict)
    open: list[SimulatedRun] = field(default_factory=list)
    tasks: int = 0
    gate: InMemoryGate = field(init=False)

    def __post_init__(self) -> None:
        """The gate writes into the same timeline."""
        self.gate = InMemoryGate(self.scenario, self.timeline)

    # -- time ----------------------------------------------------------------------------------------------------

    def until(self, at: datetime) -> None:
        """Decide everything due at or before `at`, each at its own instant, timers before messages."""
        while (due := self._next_due()) is not None and due <= at:
            for run in self.open:
                if run.due == due:
                    self._step(run, TimerDue(due))
                    break
            else:
                self.gate.settle_due(due)
            self._receive_caused(due)

    def _next_due(self) -> datetime | None:
        earliest: datetime | None = None
        for run in self.open:
            if run.due is not None and (earliest is None or run.due < earliest):
                earliest = run.due
        for queued in self.gate.queue:
            if earliest is None or queued.due < earliest:
                earliest = queued.due
        return earliest

    # -- events --------------------------------------------------------------------------------------------------

    def accept(self, event: RecordedEvent) -> None:
        """Accept a recorded event, after everything that was due by then."""
        self.until(event.at)
        match event.kind:
            case "signal":
                self._receive(event.name, event.data, event.at)
            case "profile" | "account":
                self._change_fields(event.kind, event.data, event.at)
            case "consent":
                self._change_consent(event.data, event.at)
            case "operator":
                self._operate(event.name, event.data, event.at)
        self._receive_caused(event.at)
        self.until(event.at)

    def _change_fields(self, scope: Literal["profile", "account"], traits: Mapping[str, Any], at: datetime) -> None:
        changed = self.gate.recipient.change_fields(scope, traits)
        if not changed:
            return
        for run in tuple(self.open):
            if not changed.isdisjoint(run.chart.fields[scope]):
                self._change_fields_of(run, FieldsChanged(at, self._facts))

    def _change_fields_of(self, run: SimulatedRun, fields: FieldsChanged) -> None:
        """Change the fields of a run: at once if its anchors may read them, else with its next occurrence."""
        if run.chart.key in self.scenario.anchored:
            self._step(run, fields)
        else:
            run.pending_fields = fields

    @property
    def _facts(self) -> dict[str, dict[str, Any]]:
        return self.gate.recipient.facts

    def _receive(self, name: str, data: Mapping[str, Any], at: datetime) -> None:
        """Deliver a signal to the open run of its case in each journey, or open one."""
        if name in self.scenario.ticket_signals:
            self.gate.recipient.change_tickets(name, data, at)
            if name in self.scenario.policy.urgent_ticket.resolved_by:
                self.gate.reevaluate("urgent_ticket", at)
        if name in {CONVERSATION_CLOSED, MESSAGE_REPLIED}:
            self._converse(name, data, at)
        for chart in self.scenario.by_signal.get(name, ()):
            case = case_of(chart, data)
            if case is None:
                continue
            run = self.runs.get((chart.key, case))
            if run is not None and run.state.is_open and name in chart.signals:
                self._step(run, Signal(at, name, chart.kept(name, data), self._facts))
            elif enters_on(chart, name):
                self._enter(chart, run, name, data, at)

    def _converse(self, name: str, data: Mapping[str, Any], at: datetime) -> None:
        """Apply a reply or the end of a conversation. A keyword is no conversation; "stop" by mail refuses all mail."""
        keyword = keyword_of(str(data.get("text") or "")) if name == MESSAGE_REPLIED else None
        if keyword is None:
            self.gate.answer(name, data, at)
        elif keyword == "stop" and self.gate.last_sent(data)[1] == "email":
            self._change_consent({"channel": "email", "granted": False}, at)

    def _operate(self, operation: str, data: Mapping[str, Any], at: datetime) -> None:
        self.gate.recipient.operations.apply(operation, data, at)
        for run in tuple(self.open) if operation == "cancel_run" else ():
            if data.get("journey") in (None, run.chart.key):
                self._step(run, Cancelled(at, str(data.get("by") or ""), str(data.get("why") or "")))

    def _enter(self, chart: Chart, last: SimulatedRun | None, name: str, data: Mapping[str, Any], at: datetime) -> None:
        previous = (PastRun(last.epoch, last.state.is_open, last.ended_at),) if last is not None else ()
        verdict = may_enter(chart, name, data, self._facts, previous, at)
        if not isinstance(verdict, EntryAllowed):
            self.timeline.append((None, NotEntered(at, chart.key, name, verdict.reason)))
            return
        run = SimulatedRun(chart, verdict.case, verdict.epoch)
        self.runs[chart.key, verdict.case] = run
        self.open.append(run)
        self._step(run, Entered(at, name, chart.kept(name, data), self._facts))

    def _change_consent(self, data: Mapping[str, Any], at: datetime) -> None:
        """Change consent (`granted: null` takes it back); a refusal of a journey's last channel ends its runs (C5)."""
        taken_back = "granted" in data and data["granted"] is None
        granted = None if taken_back else data.get("granted") is True
        place = (str(data.get("channel") or "*"), str(data.get("topic") or "*"))
        self.gate.recipient.change_consent(place, granted, at)
        for run in tuple(self.open):
            if not granted and has_opted_out(self.scenario.policy, run.chart, self.gate.recipient.consents):
                self._step(run, OptedOut(at))

    def _receive_caused(self, at: datetime) -> None:
        """Receive signals that journeys emit like any others; outcomes of messages go to their runs."""
        for _ in range(MAX_CAUSED_SIGNALS):
            if not self.gate.signals:
                return
            run, name, data = self.gate.signals.popleft()
            if run is None:
                self._receive(name, data, at)
            elif run.state.is_open:
                self._step(run, Signal(at, name, data, self._facts))
        self.gate.signals.clear()

    # -- decisions -----------------------------------------------------------------------------------------------

    def _step(self, run: SimulatedRun, occurrence: Occurrence) -> None:
        """Decide one occurrence and apply its effects."""
        if run.pending_fields is not None:
            if not isinstance(occurrence, Signal):
                run.state = decide(run.chart, run.state, run.pending_fields).state
            run.pending_fields = None
        decision = decide(run.chart, run.state, occurrence)
        run.state = decision.state
        run.due = decision.state.next_due()
        for line in decision.log:
            self.timeline.append((run, line))
        self._apply(run, decision.effects, occurrence.at)

    def _apply(self, run: SimulatedRun, effects: Sequence[Effect], now: datetime) -> None:
        """Decide a step's messages in one pass, and apply the effects in their order."""
        messages = [
            self.gate.message_in_pass(run, effect, role)
            for effect in effects
            if isinstance(effect, SendMessage)
            for role in effect.roles or ("",)
        ]
        decisions = self.gate.decide(messages, now, self._withdrawn(run, effects)) if messages else {}
        for effect in effects:
            match effect:
                case SendMessage():
                    for message in messages:
                        if message.message is effect:
                            self.gate.follow(message, decisions.get(message.request.key), now)
                case WithdrawnMessages():
                    self.gate.withdraw(run, effect)
                case EmittedSignal():
                    self.gate.signals.append((None, effect.name, effect.data))
                case Finished():
                    run.ended_at = effect.at
                    self.open.remove(run)
                case OpenedTask():
                    self.tasks += 1
                case ClosedTask() | EscalatedTask() | ChangedAudience():
                    pass  # tasks and audiences change nothing in the simulation

    def _withdrawn(self, run: SimulatedRun, effects: Sequence[Effect]) -> list[DeferredMessage]:
        """The queued messages that the same step withdraws: its own messages are not compared with them."""
        if not self.gate.queue:
            return []
        withdrawals = (effect for effect in effects if isinstance(effect, WithdrawnMessages))
        return [queued for effect in withdrawals for queued in self.gate.withdrawn_by(run, effect)]

    def lines(self) -> list[TimelineLine]:
        """The timeline of every run, in the order in which it was decided."""
        return [
            TimelineLine(run.name, item.at, item.kind, item.about, item.text)
            if isinstance(item, LogLine)
            else TimelineLine(run.name, item.at, item.kind, item.message.action, item.text)
            for run, item in self.timeline
            if run is not None and not isinstance(item, NotEntered)
        ]
