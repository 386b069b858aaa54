"""In-memory gate of one person: queue and history, changed by session plans.

As in the live system, messages are decided in passes: all of one step, or all that are due at one instant. A message
joins only a digest of its own pass; one of an earlier pass has been sent already (C4).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from journeys.decision.effects import SendMessage, WithdrawnMessages, message_key
from journeys.gate.reason_codes import ReasonCode
from journeys.gate.requests import MESSAGES_PER_PASS, outcome_signal, request_of, withdraws
from journeys.gate.session import CannotSend, GateSession, MessageDecision
from journeys.gate.status import Status
from journeys.gate.verdicts import DeferUntil, MergeInto, QueuedMessage, Reason, Replace, SendNow, SendRequest, Withhold
from journeys.language.actions import PRESSING, PRIORITIES
from journeys.language.signal_names import CONVERSATION_CLOSED
from journeys.simulation.recipient import RecipientState
from journeys.simulation.timeline import (
    DeferredMessage,
    MessageInPass,
    MessageOutcome,
    Scenario,
    SimulatedRun,
    Timeline,
)


@dataclass(slots=True)
class InMemoryGate:
    """The queue of one person. Verdicts go to `timeline`, outcome signals to `signals`, each with its run."""

    scenario: Scenario
    timeline: Timeline = field(default_factory=list)
    recipient: RecipientState = field(init=False)
    queue: list[DeferredMessage] = field(default_factory=list)
    signals: deque[tuple[SimulatedRun | None, str, Mapping[str, Any]]] = field(default_factory=deque)
    waits: int = 0

    def __post_init__(self) -> None:
        """Begin with a person without fields."""
        self.recipient = RecipientState(self.scenario)

    # -- passes ----------------------------------------------------------------------------------------------------

    def settle_due(self, due: datetime) -> None:
        """One pass over due messages, higher priority first (C6), then the older; as many as in a live pass."""
        waiting = sorted(
            (message for message in self.queue if message.due <= due),
            key=lambda message: (PRIORITIES.index(message.message.priority), message.due, message.number),
        )
        messages = [
            self.message_in_pass(queued.run, queued.message, queued.to, queued)
            for queued in waiting[:MESSAGES_PER_PASS]
        ]
        decisions = self.decide(messages, due)
        for message in messages:
            self.follow(message, decisions.get(message.request.key), due)

    def message_in_pass(
        self, run: SimulatedRun, message: SendMessage, to: str, queued: DeferredMessage | None = None
    ) -> MessageInPass:
        """A message with its request to the gate as of now; `queued` if it has waited."""
        facts = self.recipient.facts
        request = request_of(
            message,
            run.state,
            key=message_key(run.name, message, to),
            journey=run.chart.key,
            name=run.name,
            missing=run.chart.missing(message.action, facts["profile"], facts["account"]),
            ready_at=queued.ready_at if queued is not None else None,
        )
        return MessageInPass(run, message, to, request, queued)

    def decide(
        self, messages: Sequence[MessageInPass], now: datetime, withdrawn: Container[DeferredMessage] = ()
    ) -> dict[str, MessageDecision[None]]:
        """Decide one pass for each role; the decisions by key. Messages `withdrawn` in this step are left out."""
        decisions: dict[str, MessageDecision[None]] = {}
        for to in dict.fromkeys(message.to for message in messages):
            context = self.recipient.context(to, now, self.queued_for(to, withdrawn))
            session = GateSession(self.scenario.policy, context, now)
            requests = [message.request for message in messages if message.to == to]
            for decision in session.decide(requests, self.can_be_made).decisions:
                decisions[decision.request.key] = decision
        return decisions

    def can_be_made(self, request: SendRequest, _channel: str) -> CannotSend | None:
        """Nothing is rendered here: a message cannot be sent only if an operator has retired its template."""
        fault = self.recipient.operations.unsendable.get(request.template)
        return CannotSend(Status.WITHHELD, fault, (Reason("template", fault),)) if fault is not None else None

    # -- effects of verdicts ---------------------------------------------------------------------------------------

    def follow(self, item: MessageInPass, decision: MessageDecision[None] | None, now: datetime) -> None:
        """Apply the decision on a message; without one it gave way to a message before it."""
        if decision is None:
            return
        if item.queued is not None:
            self.queue.remove(item.queued)
        if decision.gave_way:
            self.replaced({gone.key: gone.verdict.reasons for gone in decision.gave_way}, now)
        if decision.sent is not None:
            self.recipient.add_sent(item.to, decision.sent)
        run, message, to, fault = item.run, item.message, item.to, decision.content
        verdict = decision.verdict if fault is None else Withhold(fault.reasons)
        match verdict:
            case SendNow(channel, reasons):
                self.settle(run, MessageOutcome(now, Status.SENT, message, to, reasons, channel))
            case MergeInto(_, channel, reasons):
                self.settle(run, MessageOutcome(now, Status.MERGED, message, to, reasons, channel))
            case DeferUntil():
                self.wait(item, verdict, decision, now)
            case Replace(_, reasons):
                self.settle(run, MessageOutcome(now, Status.REPLACED, message, to, reasons))
            case Withhold(reasons):
                self.settle(run, MessageOutcome(now, Status.WITHHELD, message, to, reasons))

    def wait(self, item: MessageInPass, verdict: DeferUntil, decision: MessageDecision[None], now: datetime) -> None:
        """Queue a message; a deferral for the same reasons as before adds no line to the timeline."""
        assert decision.queued is not None
        codes = tuple(reason.code for reason in verdict.reasons)
        self.waits += item.queued is None
        number = self.waits if item.queued is None else item.queued.number
        self.queue.append(
            DeferredMessage(
                item.run, item.message, item.to, verdict.until, codes, decision.queued, number, decision.ready_at
            )
        )
        if item.queued is None or item.queued.codes != codes:
            outcome = MessageOutcome(now, Status.DEFERRED, item.message, item.to, verdict.reasons, until=verdict.until)
            self.timeline.append((item.run, outcome))

    def replaced(self, reasons: Mapping[str, tuple[Reason, ...]], now: datetime) -> None:
        """End queued messages that are replaced; `reasons` by their keys."""
        for queued in [message for message in self.queue if message.waiting.key in reasons]:
            self.queue.remove(queued)
            outcome = MessageOutcome(now, Status.REPLACED, queued.message, queued.to, reasons[queued.waiting.key])
            self.settle(queued.run, outcome)

    def settle(self, run: SimulatedRun, outcome: MessageOutcome) -> None:
        """Record how a message ended, and queue its outcome signal if its run's chart reads it."""
        self.timeline.append((run, outcome))
        sent = outcome.kind in {Status.SENT, Status.MERGED}
        name = outcome_signal(outcome.message, "sent" if sent else "withheld")
        if name in run.chart.signals and run.state.is_open:
            carries = {"channel": outcome.channel} if sent else {"reason": outcome.reasons[0].code}
            self.signals.append((run, name, {**carries, "template": outcome.message.template}))

    def reevaluate(self, code: ReasonCode, at: datetime) -> None:
        """Make messages due at once that were deferred for a reason that has ended."""
        for queued in self.queue:
            if code in queued.codes:
                queued.due = min(queued.due, at)
                queued.waiting = replace(queued.waiting, due=queued.due)

    def withdraw(self, run: SimulatedRun, effect: WithdrawnMessages) -> None:
        """Withdraw the queued messages that an effect names."""
        for queued in self.withdrawn_by(run, effect):
            reason = Reason("state_left", effect.reason)
            self.queue.remove(queued)
            self.timeline.append(
                (run, MessageOutcome(effect.at, Status.WITHHELD, queued.message, queued.to, (reason,)))
            )

    def withdrawn_by(self, run: SimulatedRun, effect: WithdrawnMessages) -> list[DeferredMessage]:
        """The queued messages of a run that an effect withdraws."""
        return [queued for queued in self.queue if queued.run is run and withdraws(effect, queued.message)]

    def answer(self, name: str, data: Mapping[str, Any], at: datetime) -> None:
        """Apply a reply or the end of a conversation to the run that it names, else to the one that sent last."""
        if name == CONVERSATION_CLOSED and any(
            conversation.run == data.get("run") for conversation in self.recipient.operations.talks
        ):
            self.recipient.operations.closed(str(data["run"]))
            return
        run, _ = self.last_sent(data)
        if run is None:
            return
        if name == CONVERSATION_CLOSED:
            self.recipient.operations.closed(run.name)
            return
        self.recipient.operations.answered(run.name, self.scenario.policy.answered.quiet.after(at), at)
        reason = Reason("in_conversation", "the person has replied")
        ending = [queued for queued in self.queue if queued.run is run and queued.message.priority not in PRESSING]
        for queued in ending:
            self.queue.remove(queued)
            self.settle(run, MessageOutcome(at, Status.WITHHELD, queued.message, queued.to, (reason,)))

    def last_sent(self, data: Mapping[str, Any]) -> tuple[SimulatedRun | None, str]:
        """The run that sent last, of the named template if there is one, and the channel."""
        about = data.get("template")
        sent = (
            (run, item.channel) for run, item in reversed(self.timeline)
            if run is not None and isinstance(item, MessageOutcome) and item.kind in {Status.SENT, Status.MERGED}
            and about in (None, item.message.template)
        )  # fmt: skip
        return next(sent, (None, ""))

    def queued_for(self, role: str, withdrawn: Container[DeferredMessage] = ()) -> Iterator[QueuedMessage]:
        """The queue of a role, without what is `withdrawn` in the same step."""
        return (message.waiting for message in self.queue if message.to == role and message not in withdrawn)
