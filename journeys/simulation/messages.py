"""Messages in memory: the queue of all people, and outcomes as signals to runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from journeys.decision.effects import SendMessage, WithdrawnMessages
from journeys.gate.queue import QueuedMessage
from journeys.gate.requests import withdraws
from journeys.gate.status import MEANINGS, OutcomeName, Status
from journeys.gate.verdicts import Reason
from journeys.simulation.lanes import MESSAGE, Agenda, Lanes
from journeys.simulation.mailboxes.history import Mailboxes
from journeys.simulation.recipient import OperatorState
from journeys.simulation.subjects import SimulatedRun, SimulatedSubject
from journeys.simulation.timeline import MessageOutcome, Scenario, SimulatedStatus, Timeline

INSIDE: Final = frozenset({"in_app"})
"""Channels that deliver in the gate's own transaction; other messages are attempted after it."""
BEHIND: Final = frozenset({"behind"})
"""The code of messages that leave their place to one ahead of them."""
GONE: Final = frozenset({Status.SENT, Status.MERGED})


class RecipientGate(Protocol):
    """The gate of a person, as far as the queue of all people goes."""

    @property
    def person(self) -> SimulatedSubject: ...
    @property
    def queue(self) -> list[DeferredMessage]: ...
    def settle_due(self, now: datetime) -> None: ...
    def reevaluate(self, codes: frozenset[str], at: datetime | None) -> None: ...


@dataclass(slots=True, eq=False)
class DeferredMessage:
    """A deferred message in the queue of its recipient, with the reasons that it waits for."""

    run: SimulatedRun
    message: SendMessage
    gate: RecipientGate
    due: datetime
    reasons: tuple[Reason, ...]
    waiting: QueuedMessage
    number: int
    """Its number among all messages that ever waited: of people whose messages are due at one instant the oldest's is first."""
    decided_at: datetime
    ready_at: datetime | None = None
    is_queued: bool = True

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of its reasons."""
        return tuple(reason.code for reason in self.reasons)


class MessageQueue:
    """The deferred messages of all people, by the run that requested them."""

    def __init__(
        self, scenario: Scenario, timeline: Timeline, lanes: Lanes, agenda: Agenda, operations: OperatorState
    ) -> None:
        self.scenario, self.timeline, self.lanes, self.agenda = scenario, timeline, lanes, agenda
        self.operations, self.mailboxes = operations, Mailboxes(scenario.policy)
        self.numbers = 0
        self._of_run: dict[SimulatedRun, list[DeferredMessage]] = {}

    def add(self, deferred: DeferredMessage) -> None:
        """Queue a message, in the place that its number gives it."""
        for messages in (deferred.gate.queue, self._of_run.setdefault(deferred.run, [])):
            messages.append(deferred)
            messages.sort(key=lambda message: message.number)
        self.agenda.add(deferred.due, MESSAGE, deferred.number, deferred)

    def remove(self, deferred: DeferredMessage) -> None:
        """Take a message out of the queue."""
        deferred.is_queued = False
        deferred.gate.queue.remove(deferred)
        self._of_run[deferred.run].remove(deferred)

    def forget(self) -> None:
        """Drop all messages, and what is due."""
        self._of_run = {}
        self.agenda.entries.clear()

    def withdraw(self, run: SimulatedRun, effect: WithdrawnMessages, at: datetime) -> None:
        """Withdraw the queued messages of a run that an effect names. Its run is not signalled: it has left their state.

        Messages behind them are due again.
        """
        for deferred in [each for each in self._of_run.get(run, ()) if withdraws(effect, each.message)]:
            self.remove(deferred)
            outcome = deferred_outcome(deferred, Status.WITHDRAWN, (Reason("withdrawn", effect.reason),), at)
            self.timeline.append((run, outcome))
            deferred.gate.reevaluate(BEHIND, at)

    def signal_run(self, run: SimulatedRun, outcome: MessageOutcome, name: OutcomeName | None = None) -> None:
        """Put `<action>.<outcome>` into the run's lane, if its chart reads it."""
        name = name or MEANINGS[outcome.kind].outcome
        if name is None:
            return
        signal = f"{outcome.message.action}.{name}"
        if signal not in run.chart.signals:
            return
        carried = {"template": outcome.message.template}
        if name != "withheld":
            carried["channel"] = outcome.channel
        if name != "sent":
            carried["reason"] = outcome.reasons[0].code if outcome.reasons else ""
        self.lanes.derive(run, signal, carried, outcome.at)


def deferred_outcome(
    deferred: DeferredMessage, status: SimulatedStatus, reasons: tuple[Reason, ...], at: datetime
) -> MessageOutcome:
    """The outcome of a deferred message."""
    return MessageOutcome(at, status, deferred.message, deferred.gate.person.name, reasons, key=deferred.waiting.key)
