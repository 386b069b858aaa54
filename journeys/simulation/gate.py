"""In-memory gate of one person: queue and history, changed by session plans.

As live, messages are decided in passes: all that one step asks for, or all that is due at one instant. Only what goes out in a
pass takes others of that pass along; what went out a moment before, in another one, is on its way already (C4).
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
    AskedMessage,
    DeferredMessage,
    MessageOutcome,
    Scenario,
    SimulatedRun,
    Story,
)


@dataclass(slots=True)
class InMemoryGate:
    """The queue of one person. Verdicts go to `story`, outcome signals to `signals`, each with the run that receives it."""

    world: Scenario
    story: Story = field(default_factory=list)
    recipient: RecipientState = field(init=False)
    queue: list[DeferredMessage] = field(default_factory=list)
    signals: deque[tuple[SimulatedRun | None, str, Mapping[str, Any]]] = field(default_factory=deque)
    waits: int = 0

    def __post_init__(self) -> None:
        """The person is unknown at first."""
        self.recipient = RecipientState(self.world)

    # -- passes ----------------------------------------------------------------------------------------------------

    def settle_due(self, due: datetime) -> None:
        """One pass over what is due, the more pressing first (C6), then as it began to wait; as many at once as live."""
        waiting = sorted(
            (message for message in self.queue if message.due <= due),
            key=lambda message: (PRIORITIES.index(message.message.priority), message.due, message.number),
        )
        asked = [self.asked(queued.run, queued.message, queued.to, queued) for queued in waiting[:MESSAGES_PER_PASS]]
        decisions = self.decide(asked, due)
        for message in asked:
            self.follow(message, decisions.get(message.request.key), due)

    def asked(
        self, run: SimulatedRun, message: SendMessage, to: str, queued: DeferredMessage | None = None
    ) -> AskedMessage:
        """A message as it is asked of the gate now; `queued` if it has waited."""
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
        return AskedMessage(run, message, to, request, queued)

    def decide(
        self, asked: Sequence[AskedMessage], now: datetime, withdrawn: Container[DeferredMessage] = ()
    ) -> dict[str, MessageDecision[None]]:
        """Decide one pass of each role, by the messages' keys. What is `withdrawn` in the same step is not there any more."""
        decisions: dict[str, MessageDecision[None]] = {}
        for to in dict.fromkeys(message.to for message in asked):
            context = self.recipient.context(to, now, self.queued_for(to, withdrawn))
            session = GateSession(self.world.policy, context, now)
            requests = [message.request for message in asked if message.to == to]
            for decision in session.decide(requests, self.can_be_made).decisions:
                decisions[decision.request.key] = decision
        return decisions

    def can_be_made(self, request: SendRequest, _channel: str) -> CannotSend | None:
        """Nothing is rendered here: only content that somebody of ours has taken back cannot be sent."""
        fault = self.recipient.outside.unsendable.get(request.template)
        return CannotSend(Status.WITHHELD, fault, (Reason("template", fault),)) if fault is not None else None

    # -- what follows ----------------------------------------------------------------------------------------------

    def follow(self, asked: AskedMessage, decision: MessageDecision[None] | None, now: datetime) -> None:
        """Apply what was decided on one message; without a decision it has given way to one before it."""
        if decision is None:
            return
        if asked.queued is not None:
            self.queue.remove(asked.queued)
        if decision.gave_way:
            self.replaced({gone.key: gone.verdict.reasons for gone in decision.gave_way}, now)
        if decision.sent is not None:
            self.recipient.add_sent(asked.to, decision.sent)
        run, message, to, fault = asked.run, asked.message, asked.to, decision.content
        verdict = decision.verdict if fault is None else Withhold(fault.reasons)
        match verdict:
            case SendNow(channel, reasons):
                self.settle(run, MessageOutcome(now, Status.SENT, message, to, reasons, channel))
            case MergeInto(_, channel, reasons):
                self.settle(run, MessageOutcome(now, Status.MERGED, message, to, reasons, channel))
            case DeferUntil():
                self.wait(asked, verdict, decision, now)
            case Replace(_, reasons):
                self.settle(run, MessageOutcome(now, Status.REPLACED, message, to, reasons))
            case Withhold(reasons):
                self.settle(run, MessageOutcome(now, Status.WITHHELD, message, to, reasons))

    def wait(self, asked: AskedMessage, verdict: DeferUntil, decision: MessageDecision[None], now: datetime) -> None:
        """It is queued; a wait for the same reasons is told once."""
        assert decision.queued is not None
        codes = tuple(reason.code for reason in verdict.reasons)
        self.waits += asked.queued is None
        number = self.waits if asked.queued is None else asked.queued.number
        self.queue.append(
            DeferredMessage(
                asked.run, asked.message, asked.to, verdict.until, codes, decision.queued, number, decision.ready_at
            )
        )
        if asked.queued is None or asked.queued.codes != codes:
            outcome = MessageOutcome(
                now, Status.DEFERRED, asked.message, asked.to, verdict.reasons, until=verdict.until
            )
            self.story.append((asked.run, outcome))

    def replaced(self, reasons: Mapping[str, tuple[Reason, ...]], now: datetime) -> None:
        """Queued messages that matter less go, by their keys, and say why."""
        for queued in [message for message in self.queue if message.waiting.key in reasons]:
            self.queue.remove(queued)
            outcome = MessageOutcome(now, Status.REPLACED, queued.message, queued.to, reasons[queued.waiting.key])
            self.settle(queued.run, outcome)

    def settle(self, run: SimulatedRun, outcome: MessageOutcome) -> None:
        """It has ended: its run hears it, if its chart reads that."""
        self.story.append((run, outcome))
        goes = outcome.kind in {Status.SENT, Status.MERGED}
        name = outcome_signal(outcome.message, "sent" if goes else "withheld")
        if name in run.chart.signals and run.state.is_open:
            carries = {"channel": outcome.channel} if goes else {"reason": outcome.reasons[0].code}
            self.signals.append((run, name, {**carries, "template": outcome.message.template}))

    def reevaluate(self, code: ReasonCode, at: datetime) -> None:
        """Messages deferred for a reason that has ended are due at once."""
        for queued in self.queue:
            if code in queued.codes:
                queued.due = min(queued.due, at)
                queued.waiting = replace(queued.waiting, due=queued.due)

    def withdraw(self, run: SimulatedRun, effect: WithdrawnMessages) -> None:
        """What is queued and no longer true goes, and says why."""
        for queued in self.withdrawn_by(run, effect):
            reason = Reason("state_left", effect.reason)
            self.queue.remove(queued)
            self.story.append((run, MessageOutcome(effect.at, Status.WITHHELD, queued.message, queued.to, (reason,))))

    def withdrawn_by(self, run: SimulatedRun, effect: WithdrawnMessages) -> list[DeferredMessage]:
        """The queued messages of a run that an effect withdraws."""
        return [queued for queued in self.queue if queued.run is run and withdraws(effect, queued.message)]

    def answer(self, name: str, data: Mapping[str, Any], at: datetime) -> None:
        """They have answered a message, or a person has closed what came of it: the run that sent it last is meant."""
        if name == CONVERSATION_CLOSED and any(talk.run == data.get("run") for talk in self.recipient.outside.talks):
            self.recipient.outside.closed(str(data["run"]))
            return
        run, _ = self.last_sent(data)
        if run is None:
            return
        if name == CONVERSATION_CLOSED:
            self.recipient.outside.closed(run.name)
            return
        self.recipient.outside.answered(run.name, self.world.policy.answered.quiet.after(at), at)
        reason = Reason("in_conversation", "they have answered")
        for queued in [each for each in self.queue if each.run is run and each.message.priority not in PRESSING]:
            self.queue.remove(queued)
            self.settle(run, MessageOutcome(at, Status.WITHHELD, queued.message, queued.to, (reason,)))

    def last_sent(self, data: Mapping[str, Any]) -> tuple[SimulatedRun | None, str]:
        """The run that sent last, of the template if one is named, and by which channel."""
        about = data.get("template")
        sent = (
            (run, item.channel) for run, item in reversed(self.story)
            if run is not None and isinstance(item, MessageOutcome) and item.kind in {Status.SENT, Status.MERGED}
            and about in (None, item.message.template)
        )  # fmt: skip
        return next(sent, (None, ""))

    def queued_for(self, role: str, withdrawn: Container[DeferredMessage] = ()) -> Iterator[QueuedMessage]:
        """The queue of a role, without what is `withdrawn` in the same step."""
        return (message.waiting for message in self.queue if message.to == role and message not in withdrawn)
