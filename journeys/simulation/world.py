"""World: people, accounts, runs, messages and tasks in memory, decided in order.

Entry, `decide`, the gate session and the rules of tasks are those of the live system. At one instant one thing happens at a
time, as record 0016 says: the oldest row; else the run with the earliest deadline; else the person whose due message has
waited longest; else the task that is due. Events are taken in the order in which they were accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from journeys.decision.effects import LogLine
from journeys.decision.occurrences import Cancelled, FieldsChanged, TimerDue
from journeys.gate.verdicts import Hold
from journeys.simulation import people
from journeys.simulation.gate import InMemoryGate
from journeys.simulation.intake import EventIntake
from journeys.simulation.lanes import MESSAGE, RUN, Agenda, Lanes, Row, occurrence_for
from journeys.simulation.messages import MessageQueue
from journeys.simulation.reactions.consents import ConsentReactions
from journeys.simulation.reactions.replies import Replies
from journeys.simulation.recipient import OperatorState, hold_in
from journeys.simulation.recording import RecordedEvent, recorded_consent
from journeys.simulation.steps import Steps
from journeys.simulation.subjects import UNCHANGED, AcceptedEvent, SimulatedRun, SimulatedSubject
from journeys.simulation.timeline import MessageOutcome, Scenario, Timeline, TimelineLine
from journeys.tasks.board import BoardTask, TaskBoard

HELD = frozenset({"held"})
STOPPED = frozenset({"stopped"})


class World:
    """People and accounts of one simulation. `timeline` has everything that was decided, in order."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.timeline: Timeline = []
        self.subjects = people.SubjectRegistry()
        self.gates: dict[SimulatedSubject, InMemoryGate] = {}
        self.operations = OperatorState()
        self.agenda, self.lanes, self.board = Agenda(), Lanes(scenario), TaskBoard(scenario.roster)
        self.messages = MessageQueue(scenario, self.timeline, self.lanes, self.agenda, self.operations)
        self.replies = Replies(scenario, self.timeline, self.lanes, self.agenda, self.board)
        self.consents = ConsentReactions(scenario, self.lanes, self.messages.mailboxes.suppressions)
        self.intake = EventIntake(
            scenario, self.timeline, self.lanes, self.replies, self.consents, self.gates, self.gate_of
        )
        self.steps = Steps(self.messages, self.intake, self.replies, self.board, self.gate_of)
        self.now: datetime | None = None

    # -- time ----------------------------------------------------------------------------------------------------

    def next_due(self) -> datetime | None:
        """The earliest instant at which something is due."""
        entries = self.agenda.entries
        while entries and not _is_due(*entries[0][:2], entries[0][4]):
            self.agenda.take()
        return entries[0][0] if entries else None

    def until(self, at: datetime) -> None:
        """Decide everything due at or before `at`, each at its own instant."""
        entries = self.agenda.entries
        while entries and entries[0][0] <= at:
            due, rank, _, _, item = self.agenda.take()
            if _is_due(due, rank, item):
                self._reach(due)
                self._decide_due(due, rank, item)
                self._deliver_all()

    def _reach(self, at: datetime) -> None:
        if self.now is None or at > self.now:
            self.now = at
            self.lanes.begin()

    def _decide_due(self, due: datetime, rank: int, item: Any) -> None:
        assert self.now is not None
        if rank == RUN:
            self.steps.step(item, TimerDue(due), self.now)
        elif rank == MESSAGE:
            item.gate.settle_due(self.now)
        else:
            self.replies.escalate_reply(item, self.now)

    # -- rows ------------------------------------------------------------------------------------------------------

    def _deliver_all(self) -> None:
        rows = self.lanes.rows
        while rows:
            self._deliver(rows.popleft())

    def _deliver(self, row: Row) -> None:
        """Deliver a row to one run after another, in the order in which they were opened."""
        assert self.now is not None
        subject = row.subject
        if row.facts is not None:
            subject.receive(row.facts, row.at)
        for run in (row.target,) if row.target is not None else tuple(subject.open):
            occurrence = occurrence_for(run, row, subject.facts) if run.is_open else None
            if occurrence is None:
                continue
            # Fields alone move only timers that follow them: other runs receive them with their next occurrence.
            if not isinstance(occurrence, FieldsChanged) or run.chart.key in self.scenario.anchored:
                self.steps.step(run, occurrence, self.now)

    # -- events ----------------------------------------------------------------------------------------------------

    def accept(self, event: RecordedEvent) -> None:
        """Accept a recorded event, after everything that was due by then, and decide all that it causes."""
        at = event.at
        self.until(at)
        if self.now is None or at > self.now:
            self.now = at
        self.lanes.begin()
        kind = event.kind
        if kind == "consent":
            gate = self.gate_of(self._subject_of(event, at)[0])
            changes = [recorded_consent(event.data)]
            self.intake.accept_caused(self.consents.change(gate, changes, at), at)
        elif kind == "operator":
            self._operate(event, at)
        else:
            subject, changed = self._subject_of(event, at)
            account, more = self._account_of(event, subject), (event.historical, event.implied)
            self.intake.accept((AcceptedEvent(subject, account, kind, event.name, event.data, changed, *more),), at)
        self._deliver_all()
        self.until(self.now)

    def close_task(self, task: BoardTask, outcome: str, by: str, note: str, at: datetime) -> None:
        """Close an open task at an instant, and decide all that it causes."""
        self.until(at)
        self._reach(at)
        self.lanes.begin()
        if task.status == "open":
            self.replies.close_task(task, outcome, by, note, at)
        self._deliver_all()
        self.until(at)

    def gate_of(self, person: SimulatedSubject) -> InMemoryGate:
        """The gate of a person."""
        gate = self.gates.get(person)
        if gate is None:
            gate = self.gates[person] = InMemoryGate(self.messages, person)
        return gate

    def _subject_of(self, event: RecordedEvent, at: datetime) -> tuple[SimulatedSubject, frozenset[str]]:
        """The subject of an event, and the fields that a merge has changed."""
        known = self.subjects.users.get(event.who) if event.subject == "user" and not event.visitor else None
        if known is not None:
            return known, UNCHANGED
        found = self.subjects.subject_of(event)
        if found.merged is not None:
            return found.subject, self._merge(found.merged, found.subject, at)
        return found.subject, UNCHANGED

    def _account_of(self, event: RecordedEvent, subject: SimulatedSubject) -> SimulatedSubject | None:
        """The account that an event names. Fields of an account that is not named are those of the person's own."""
        if event.account:
            return self.subjects.account(event.account)
        if event.kind == "account" and subject.kind == "user":
            return subject.account or self.subjects.account(event.who)
        return None

    def _merge(self, gone: SimulatedSubject, into: SimulatedSubject, at: datetime) -> frozenset[str]:
        into_gate = self.gate_of(into)
        people.merge_work(gone, into, self.board, self.replies, into_gate)
        if gone in self.gates:
            people.merge_gates(self.gates.pop(gone), into_gate, at)
        changed = people.merge_people(gone, into)
        people.merge_runs(gone, into, lambda run: self.intake.past(run, at), self.lanes, at)
        return changed

    # -- operators -------------------------------------------------------------------------------------

    def _operate(self, event: RecordedEvent, at: datetime) -> None:
        subject, _ = self._subject_of(event, at)
        data = event.data
        self.operations.apply(event.name, data, at)
        self.messages.mailboxes.suppressions.apply(event.name, subject, data, at)
        match event.name:
            case "release_stop":
                for gate in self.gates.values():
                    gate.reevaluate(STOPPED, None)
            case "hold" | "release_hold":
                self._hold(subject, hold_in(data) if event.name == "hold" else None, at)
            case "cancel_run":
                self._cancel(subject, data, at)
            case "close_task":
                self._close_tasks(subject, data, at)
            case _:
                pass

    def _hold(self, subject: SimulatedSubject, hold: Hold | None, at: datetime) -> None:
        """Place or release a hold; what waits for one is decided again."""
        subject.held = (hold,) if hold is not None else ()
        if hold is not None and subject.kind == "user":
            self.gate_of(subject).recipient.since["held",] = at
        self.intake.reevaluate((subject, *subject.members), HELD, at)

    def _cancel(self, subject: SimulatedSubject, data: Mapping[str, Any], at: datetime) -> None:
        for run in tuple(subject.open):
            if data.get("journey") in (None, run.chart.key):
                self.steps.step(run, Cancelled(at, str(data.get("by") or ""), str(data.get("why") or "")), at)

    def _close_tasks(self, subject: SimulatedSubject, data: Mapping[str, Any], at: datetime) -> None:
        """Close the open tasks of a kind that a person or an account has."""
        outcome, by, note = (str(data.get(key) or default) for key, default in CLOSING.items())
        for task in self.board.tasks:
            if task.task == data.get("task") and task.scope in (subject, subject.account):
                self.replies.close_task(task, outcome, by, note, at)

    # -- results ---------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Forget everybody, so that memory is free without a search for cycles: people and runs refer to each other."""
        for subject in self.subjects:
            subject.forget()
        self.messages.forget()
        self.gates.clear()
        del self.intake, self.steps

    @property
    def open_runs(self) -> list[SimulatedRun]:
        """The open runs, in the order in which they were opened."""
        return sorted((run for subject in self.subjects for run in subject.open), key=lambda run: run.number)

    def lines(self) -> list[TimelineLine]:
        """The timeline of every run, in the order in which it was decided."""
        lines = []
        for run, item in self.timeline:
            if run is not None and (isinstance(item, LogLine) or (isinstance(item, MessageOutcome) and not item.again)):
                about = item.about if isinstance(item, LogLine) else item.message.action
                lines.append(TimelineLine(run.subject.name, run.name, item.at, item.kind, about, item.text))
        return lines


CLOSING = {"outcome": "closed", "by": "", "note": ""}
"""What an operator says when they close a task, with the defaults."""


def _is_due(due: datetime, rank: int, item: Any) -> bool:
    """Whether an entry of the agenda is still true."""
    if rank == RUN:
        return bool(item.due == due and item.is_open)
    if rank == MESSAGE:
        return bool(item.due == due and item.is_queued)
    return bool(item.due_at == due and item.status == "open")
