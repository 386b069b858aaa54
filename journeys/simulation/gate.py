"""In-memory gate of one person: queue and history, changed by session plans.

As in the live system, messages are decided in passes: all of one step, or all that are due at one instant. A message
joins only a digest of its own pass; one of an earlier pass has been sent already (C4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from journeys.decision.effects import SendMessage, message_key
from journeys.frozen import frozen
from journeys.gate.queue import order_of
from journeys.gate.requests import MESSAGES_PER_PASS, request_of
from journeys.gate.session import CannotSend, GateSession, GaveWay, MessageDecision
from journeys.gate.status import Status
from journeys.gate.verdicts import DeferUntil, MergeInto, Reason, Replace, SendNow, SendRequest, Withhold
from journeys.simulation.lanes import MESSAGE
from journeys.simulation.messages import BEHIND, GONE, INSIDE, DeferredMessage, MessageQueue, deferred_outcome
from journeys.simulation.recipient import RecipientState
from journeys.simulation.subjects import SimulatedRun, SimulatedSubject
from journeys.simulation.timeline import MessageOutcome, SimulatedStatus


@frozen
class MessageInPass:
    """A message that is decided in a pass of its recipient's gate; `queued` if it has waited until now."""

    run: SimulatedRun
    message: SendMessage
    gate: InMemoryGate
    request: SendRequest
    queued: DeferredMessage | None = None


@dataclass(slots=True)
class DecidedPass:
    """Outcomes by the messages' keys, queued messages that gave way, attempts to make; `verdicts` are all in the ledger's order."""

    outcomes: dict[str, MessageOutcome] = field(default_factory=dict)
    verdicts: list[tuple[SimulatedRun, MessageOutcome]] = field(default_factory=list)
    gave_way: list[tuple[SimulatedRun, MessageOutcome]] = field(default_factory=list)
    attempts: list[tuple[SimulatedRun, MessageOutcome]] = field(default_factory=list)


class InMemoryGate:
    """The queue and the history of one person."""

    def __init__(self, shared: MessageQueue, person: SimulatedSubject) -> None:
        self.shared, self.person, self.scenario = shared, person, shared.scenario
        self.recipient = RecipientState(shared.scenario, shared.operations, person, shared.mailboxes)
        self.queue: list[DeferredMessage] = []
        self.sent: list[tuple[SimulatedRun, MessageOutcome]] = []
        """Every message that was sent, alone or in a digest, with its run."""

    def has_sent(self, key: object) -> bool:
        """Whether a message with this key was sent."""
        return any(outcome.key == key for _, outcome in self.sent)

    # -- passes ----------------------------------------------------------------------------------------------------

    def settle_due(self, now: datetime) -> None:
        """One pass over due messages in the order of their recipient (C6); as many as in a live pass."""
        due = sorted(
            (deferred for deferred in self.queue if deferred.due <= now),
            key=lambda deferred: order_of(deferred.waiting),
        )
        for deferred in due[MESSAGES_PER_PASS:]:
            self.shared.agenda.add(deferred.due, MESSAGE, deferred.number, deferred)
        messages = [self.message_in_pass(each.run, each.message, each) for each in due[:MESSAGES_PER_PASS]]
        settle_passes([(self, messages)], messages, now)

    def message_in_pass(
        self, run: SimulatedRun, message: SendMessage, queued: DeferredMessage | None = None
    ) -> MessageInPass:
        """A message with its request to the gate as of now; `queued` if it has waited."""
        person, about = self.person, run.subject if run.subject.kind == "account" else None
        account = about or person.account
        fields = account.profile if account is not None else {}
        request = request_of(
            message,
            run.draft,
            key=message_key(run.identity, message, person.name),
            journey=run.chart.key,
            name=run.identity,
            missing=run.chart.missing(message.action, person.profile, fields) if run.chart.needs else (),
        )
        if queued is not None:
            request = replace(request, number=queued.number, ready_at=queued.ready_at)
        if about is not None:
            roles = run.chart.roles_for(message.state, message.action)
            request = replace(request, account=about.name, roles=roles, zone=self.recipient.zone(about.profile))
        return MessageInPass(run, message, self, request, queued)

    def decide(self, messages: Sequence[MessageInPass], now: datetime) -> DecidedPass:
        """Decide one pass, and apply what it means for queue and history."""
        context = self.recipient.context(now, [deferred.waiting for deferred in self.queue])
        session = GateSession(self.scenario.policy, context, now)
        plan = session.decide([message.request for message in messages], self._can_be_made)
        by_key = {message.request.key: message for message in messages}
        digests = {part.request.key for parts in plan.together if len(parts) > 1 for part in parts}
        outcomes = (decided := DecidedPass()).outcomes
        for decision in plan.decisions:
            key = decision.request.key
            outcomes[key] = self._apply(by_key[key], decision, now, in_digest=key in digests)
            if decision.gave_way:
                gone = self._give_way(decision.gave_way, now)
                decided.gave_way += gone
                decided.verdicts += gone
            if decision.sent is None:
                decided.verdicts.append((by_key[key].run, outcomes[key]))
        for parts in plan.together:
            sent = [by_key[part.request.key] for part in parts]
            decided.verdicts += [(message.run, outcomes[message.request.key]) for message in sent]
            # The runs of a digest are signalled in the order in which its parts were asked for.
            for message in sorted(sent, key=lambda part: part.queued.number if part.queued is not None else 0):
                if outcomes[message.request.key].channel not in INSIDE:
                    decided.attempts.append((message.run, outcomes[message.request.key]))
        return decided

    def _can_be_made(self, request: SendRequest, _channel: str) -> CannotSend | None:
        """Nothing is rendered here: a message cannot be sent only if an operator has retired its template."""
        fault = self.shared.operations.unsendable.get(request.template)
        return CannotSend(Status.FAILED, fault, (Reason("template", fault),)) if fault is not None else None

    # -- effects of verdicts ---------------------------------------------------------------------------------------

    def _apply(
        self, item: MessageInPass, decision: MessageDecision[None], now: datetime, *, in_digest: bool
    ) -> MessageOutcome:
        if item.queued is not None:
            self.shared.remove(item.queued)
        if decision.sent is not None:
            self.recipient.add_sent(decision.sent)
        fault = decision.content
        match decision.verdict:
            case SendNow(channel, reasons) | MergeInto(_, channel, reasons):
                if fault is not None:
                    return _outcome(item, Status.FAILED, (*fault.reasons, *reasons), now, channel)
                return _outcome(item, Status.MERGED if in_digest else Status.SENT, reasons, now, channel)
            case DeferUntil() as verdict:
                return self._defer(item, verdict, decision, now)
            case Replace(_, reasons):
                return _outcome(item, Status.REPLACED, reasons, now)
            case Withhold(reasons):
                return _outcome(item, Status.WITHHELD, reasons, now)

    def _defer(
        self, item: MessageInPass, verdict: DeferUntil, decision: MessageDecision[None], now: datetime
    ) -> MessageOutcome:
        assert decision.queued is not None
        queued = item.queued
        self.shared.numbers += queued is None
        number = self.shared.numbers if queued is None else queued.number
        deferred = DeferredMessage(
            item.run,
            item.message,
            self,
            verdict.until,
            verdict.reasons,
            replace(decision.queued, number=number),
            number,
            now,
            decision.ready_at,
        )
        self.shared.add(deferred)
        again = queued is not None and queued.codes == deferred.codes
        return replace(_outcome(item, Status.DEFERRED, verdict.reasons, now), until=verdict.until, again=again)

    def _give_way(self, gone: Iterable[GaveWay], now: datetime) -> list[tuple[SimulatedRun, MessageOutcome]]:
        """End queued messages that are replaced; what each has waited for is kept beside it."""
        reasons = {message.key: message.verdict.reasons for message in gone}
        outcomes = []
        for deferred in [deferred for deferred in self.queue if deferred.waiting.key in reasons]:
            self.shared.remove(deferred)
            outcome = deferred_outcome(
                deferred, Status.REPLACED, (*deferred.reasons, *reasons[deferred.waiting.key]), now
            )
            outcomes.append((deferred.run, outcome))
        return outcomes

    # -- what ends a wait ------------------------------------------------------------------------------------------

    def reevaluate(self, codes: frozenset[str], at: datetime | None) -> None:
        """Make messages due that wait for a reason that has ended or changed: at `at`, or as of their last decision."""
        for deferred in self.queue:
            due = at or deferred.decided_at
            if deferred.due > due and not codes.isdisjoint(deferred.codes):
                deferred.due, deferred.waiting = due, replace(deferred.waiting, due=due)
                self.shared.agenda.add(due, MESSAGE, deferred.number, deferred)

    def withdraw(
        self,
        reasons_for: Callable[[DeferredMessage], tuple[Reason, ...] | None],
        at: datetime,
        ended: frozenset[SimulatedRun] = frozenset(),
    ) -> None:
        """Withdraw the queued messages for which there are reasons, and signal their runs, except those that have `ended`."""
        for deferred in tuple(self.queue):
            reasons = reasons_for(deferred)
            if reasons is None:
                continue
            self.shared.remove(deferred)
            outcome = deferred_outcome(deferred, Status.WITHDRAWN, reasons, at)
            self.shared.timeline.append((deferred.run, outcome))
            if deferred.run not in ended:
                self.shared.signal_run(deferred.run, outcome)
            self.reevaluate(BEHIND, at)


def settle_passes(
    passes: Sequence[tuple[InMemoryGate, Sequence[MessageInPass]]],
    messages: Sequence[MessageInPass],
    now: datetime,
    between: Callable[[], None] | None = None,
) -> None:
    """Decide the passes of one transaction in their order, and signal the runs; then make the attempts.

    First all passes decide. Then the run of each of the `messages` is signalled, then those that gave way; `between`
    is what the transaction does at its end. The attempts come after its commit.
    """
    decided = {gate: gate.decide(of_gate, now) for gate, of_gate in passes}
    shared = passes[0][0].shared
    shared.timeline.extend(verdict for of_pass in decided.values() for verdict in of_pass.verdicts)
    for message in messages:
        outcome = decided[message.gate].outcomes.get(message.request.key)
        if outcome is not None:  # without one it gave way to a message before it
            _signal_run(shared, message, outcome)
    for run, outcome in [gone for of_pass in decided.values() for gone in of_pass.gave_way]:
        shared.signal_run(run, replace(outcome, reasons=outcome.reasons[-1:]))
    if between is not None:
        between()
    for run, outcome in [attempt for of_pass in decided.values() for attempt in of_pass.attempts]:
        shared.signal_run(run, outcome, "sent")


def _signal_run(shared: MessageQueue, message: MessageInPass, outcome: MessageOutcome) -> None:
    """Signal a run what was decided on its message; of one to attempt, the attempt does."""
    if outcome.kind in GONE:
        message.gate.sent.append((message.run, outcome))
    if outcome.channel in INSIDE or outcome.kind not in GONE:
        shared.signal_run(message.run, outcome, "sent" if outcome.kind is Status.MERGED else None)


def _outcome(
    item: MessageInPass, status: SimulatedStatus, reasons: tuple[Reason, ...], now: datetime, channel: str = ""
) -> MessageOutcome:
    return MessageOutcome(now, status, item.message, item.gate.person.name, reasons, channel, key=item.request.key)
