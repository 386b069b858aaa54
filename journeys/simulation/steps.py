"""Steps in memory: one decision of a run, and its effects in one transaction.

The order is that of `activities/steps/apply.py`: tasks and withdrawals, then the messages, person by person, then the signals
that the journey emits; attempts come after the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from journeys.decision.decide import decide_in
from journeys.decision.effects import (
    ChangedAudience,
    ClosedTask,
    Effect,
    EmittedSignal,
    EscalatedTask,
    Finished,
    OpenedTask,
    SendMessage,
    WithdrawnMessages,
    message_key,
    task_request,
)
from journeys.decision.occurrences import Entered, FieldsChanged, Occurrence, Signal
from journeys.decision.state import next_deadline
from journeys.gate.status import Status
from journeys.gate.verdicts import Reason
from journeys.simulation.gate import InMemoryGate, MessageInPass, settle_passes
from journeys.simulation.intake import EventIntake
from journeys.simulation.lanes import RUN
from journeys.simulation.messages import MessageQueue
from journeys.simulation.reactions.replies import Replies
from journeys.simulation.subjects import AcceptedEvent, SimulatedRun, SimulatedSubject
from journeys.simulation.timeline import MessageOutcome
from journeys.tasks.board import TaskBoard, TaskDeadline, TaskRequest


class Steps:
    """Decides for runs and applies what is decided; `now` is the instant of the gate and of derived signals."""

    def __init__(
        self,
        messages: MessageQueue,
        intake: EventIntake,
        replies: Replies,
        board: TaskBoard,
        gate_of: Callable[[SimulatedSubject], InMemoryGate],
    ) -> None:
        self.messages, self.intake, self.replies, self.board = messages, intake, replies, board
        self.gate_of = gate_of
        self.timeline, self.lanes, self.agenda = messages.timeline, messages.lanes, messages.agenda

    def step(self, run: SimulatedRun, occurrence: Occurrence, now: datetime) -> None:
        """Decide one occurrence, with the fields as of its place in the lane, and apply its effects."""
        subject = run.subject
        if subject.facts is not run.facts:
            if not (isinstance(occurrence, Signal | Entered | FieldsChanged) and occurrence.facts is not None):
                self._receive_fields(run)
            run.facts = subject.facts
        draft = run.draft
        draft.effects, draft.log = [], []
        decide_in(draft, occurrence)
        due = next_deadline(draft)
        if due != run.due or draft.held:  # what waits for a step is due at the same instant again
            run.due = due
            if due is not None:
                self.agenda.add(due, RUN, run.number, run)
        for line in draft.log:
            self.timeline.append((run, line))
        if draft.effects:
            if draft.outcome is not None:
                subject.open.remove(run)
            self._apply(run, draft.effects, now)

    def _receive_fields(self, run: SimulatedRun) -> None:
        """Give a run the fields as of the last row of its lane, which decide nothing before something else happens."""
        facts, at = run.subject.facts, run.subject.facts_at
        if facts is not None and at is not None:
            run.draft.effects, run.draft.log = [], []
            decide_in(run.draft, FieldsChanged(at, facts))
            self.timeline += [(run, line) for line in run.draft.log]

    def _apply(self, run: SimulatedRun, effects: Sequence[Effect], now: datetime) -> None:
        sends, emitted = list[SendMessage](), list[EmittedSignal]()
        for effect in effects:
            match effect:
                case SendMessage():
                    sends.append(effect)
                case WithdrawnMessages():
                    self.messages.withdraw(run, effect, now)
                case OpenedTask() | ClosedTask() | EscalatedTask():
                    self._change_task(run, effect, now)
                case EmittedSignal():
                    emitted.append(effect)
                case Finished():
                    run.ended_at = effect.at
                case ChangedAudience():
                    pass  # an audience changes no decision
        if sends:
            self._send(run, sends, emitted, now)
        elif emitted:
            self._emit(run, emitted, now)

    # -- messages and signals --------------------------------------------------------------------------------------

    def _send(
        self, run: SimulatedRun, sends: Sequence[SendMessage], emitted: Sequence[EmittedSignal], now: datetime
    ) -> None:
        """Decide a step's messages in one pass for each recipient."""
        subject = run.subject
        messages: list[MessageInPass] = []
        for message in sends:
            people = [subject] if subject.kind == "user" else subject.with_role(message.roles)
            if not people:
                self._nobody(run, message, now)
            messages += [self.gate_of(person).message_in_pass(run, message) for person in people]
        if not messages:
            self._emit(run, emitted, now)
            return
        passes: dict[InMemoryGate, list[MessageInPass]] = {}
        for item in messages:
            passes.setdefault(item.gate, []).append(item)
        settle_passes(tuple(passes.items()), messages, now, lambda: self._emit(run, emitted, now))

    def _nobody(self, run: SimulatedRun, message: SendMessage, now: datetime) -> None:
        roles = " or ".join(message.roles)
        why = f"no member of the account is {roles}" if roles else "the message names no recipient"
        reason, key = Reason("no_recipient", why), message_key(run.identity, message, "-")
        outcome = MessageOutcome(now, Status.WITHHELD, message, "", (reason,), key=key)
        self.timeline.append((run, outcome))
        self.messages.signal_run(run, outcome)

    def _emit(self, run: SimulatedRun, emitted: Sequence[EmittedSignal], now: datetime) -> None:
        """Accept the signals that a journey emits, as events of the run's subject."""
        if emitted:
            subject = run.subject
            self.intake.accept([AcceptedEvent(subject, None, "signal", each.name, each.data) for each in emitted], now)

    # -- tasks -----------------------------------------------------------------------------------------------------

    def _change_task(self, run: SimulatedRun, effect: OpenedTask | ClosedTask | EscalatedTask, now: datetime) -> None:
        match effect:
            case OpenedTask():
                self._open_task(run, effect, now)
            case ClosedTask():
                for task in self.board.release(run, effect.action):
                    self.replies.note_task(task, "withdrawn", now, run, effect.reason)
            case EscalatedTask():
                escalated, deadlines = self.board.escalate(run, effect)
                if escalated is not None:
                    self.replies.note_task(escalated, "escalated", now, run)
                self._signal_deadlines(deadlines, now)

    def _open_task(self, run: SimulatedRun, effect: OpenedTask, now: datetime) -> None:
        subject = run.subject
        account = subject if subject.kind == "account" else subject.account
        name = task_request(effect.state, effect.visit, effect.action, effect.firing)
        request = TaskRequest(run, effect.action, name, effect.at, f"{run.identity}#{name}")
        opened = self.board.opened
        task, deadlines = self.board.request(request, effect, scope=account or subject, case=run.case, account=account)
        self.replies.note_task(task, "opened" if self.board.opened > opened else "joined", now, run)
        self._signal_deadlines(deadlines, now)

    def _signal_deadlines(self, deadlines: Iterable[TaskDeadline], now: datetime) -> None:
        """Put a task's deadline into the lane of each run that requests it, for the run's own timer (record 0012)."""
        for deadline in deadlines:
            request, run = deadline.of, deadline.of.run
            assert isinstance(run, SimulatedRun)
            if run.is_open:
                self.lanes.add(
                    run.subject, "deadline", request.action, now, {"request": request.request}, None,
                    target=run, due_at=deadline.due_at,
                )  # fmt: skip
