"""Timeline of a simulated person: scenario, runs, outcomes of messages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from journeys.decision.chart import Chart
from journeys.decision.effects import LogLine, SendMessage
from journeys.decision.entry import enters_on
from journeys.decision.occurrences import FieldsChanged
from journeys.decision.state import RunState
from journeys.gate.policy import Policy, horizon
from journeys.gate.status import Status
from journeys.gate.verdicts import QueuedMessage, Reason, SendRequest
from journeys.language.signal_names import play_signal

SimulatedStatus = Literal[Status.SENT, Status.MERGED, Status.DEFERRED, Status.WITHHELD, Status.REPLACED]
"""The statuses of messages in memory: no attempt is made, so none is in flight and none fails."""


class Scenario:
    """Journeys, policy and assumptions of one simulation: everyone is reached by the channels `reachable`."""

    def __init__(
        self, charts: tuple[Chart, ...], policy: Policy, reachable: frozenset[str] = frozenset({"in_app"})
    ) -> None:
        self.charts, self.policy, self.reachable = charts, policy, reachable
        self.horizon = horizon(policy)
        names = {n for chart in charts for n in (*chart.signals, *chart.spec.entry.on, play_signal(chart.key))}
        self.by_signal = {
            name: tuple(chart for chart in charts if name in chart.signals or enters_on(chart, name)) for name in names
        }
        self.anchored = frozenset(chart.key for chart in charts if chart.has_anchors)
        tickets = policy.urgent_ticket
        self.ticket_signals = frozenset({*tickets.opened_by, *tickets.resolved_by})


class SimulatedRun:
    """A run with its state and its next due timer; `pending_fields` are changes that it has not received yet."""

    __slots__ = ("case", "chart", "due", "ended_at", "epoch", "name", "pending_fields", "place", "state")

    def __init__(self, chart: Chart, case: str, epoch: int) -> None:
        self.chart, self.case, self.epoch = chart, case, epoch
        self.name = f"{chart.key}/{case or '-'}/{epoch}"
        self.state = RunState()
        self.place = ""
        self.due: datetime | None = None
        self.ended_at: datetime | None = None
        self.pending_fields: FieldsChanged | None = None


class TimelineLine(NamedTuple):
    """One line of a person's timeline, comparable with the live one's."""

    run: str
    at: datetime
    kind: str
    about: str
    text: str


@dataclass(frozen=True, slots=True)
class MessageOutcome:
    """The gate's verdict on a message at `at`; `to` is the recipient's role, if the message has one."""

    at: datetime
    kind: SimulatedStatus
    message: SendMessage
    to: str
    reasons: tuple[Reason, ...]
    channel: str = ""
    until: datetime | None = None

    @property
    def text(self) -> str:
        """The verdict in words."""
        why = "; ".join(reason.text for reason in self.reasons)
        message = self.message.template + (f" for {self.to}" if self.to else "")
        match self.kind:
            case Status.SENT:
                return f"{message} by {self.channel}" + (f" ({why})" if why else "")
            case Status.DEFERRED:
                return f"{message} waits, because {why}"
            case Status.MERGED:
                return f"{message} by {self.channel}: {why}"
            case Status.WITHHELD | Status.REPLACED:
                return f"{message}, because {why}"


@dataclass(frozen=True, slots=True)
class NotEntered:
    """An event that could have opened a run, and the reason why it did not."""

    at: datetime
    journey: str
    name: str
    reason: str


Timeline = list[tuple[SimulatedRun | None, LogLine | MessageOutcome | NotEntered]]
"""All that was decided for a person, in order, each with its run; None for an event that opened none."""


@dataclass(slots=True, eq=False)
class DeferredMessage:
    """A deferred message of a person, with the codes of the reasons that it waits for."""

    run: SimulatedRun
    message: SendMessage
    to: str
    due: datetime
    codes: tuple[str, ...]
    waiting: QueuedMessage
    number: int
    """Its number among all messages that ever waited: of those due at one instant the oldest is decided first."""
    ready_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class MessageInPass:
    """A message that is decided in a pass; `queued` if it has waited until now."""

    run: SimulatedRun
    message: SendMessage
    to: str
    request: SendRequest
    queued: DeferredMessage | None = None
