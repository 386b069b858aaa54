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
    """What is the same for everyone: journeys, policy, and the channels on which everyone is assumed to be reached."""

    def __init__(
        self, charts: tuple[Chart, ...], policy: Policy, reachable: frozenset[str] = frozenset({"in_app"})
    ) -> None:
        self.charts, self.policy, self.reachable = charts, policy, reachable
        self.horizon = horizon(policy)
        names = {n for chart in charts for n in (*chart.signals, *chart.spec.entry.on, play_signal(chart.key))}
        self.hearing = {
            name: tuple(chart for chart in charts if name in chart.signals or enters_on(chart, name)) for name in names
        }
        self.anchored = frozenset(chart.key for chart in charts if chart.has_anchors)
        tickets = policy.urgent_ticket
        self.of_tickets = frozenset({*tickets.opened_by, *tickets.resolved_by})


class SimulatedRun:
    """One run: where it is, and when it wants to be woken."""

    __slots__ = ("case", "chart", "due", "ended_at", "epoch", "name", "place", "state", "untold")

    def __init__(self, chart: Chart, case: str, epoch: int) -> None:
        self.chart, self.case, self.epoch = chart, case, epoch
        self.name = f"{chart.key}/{case or '-'}/{epoch}"
        self.state = RunState()
        self.place = ""
        self.due: datetime | None = None
        self.ended_at: datetime | None = None
        self.untold: FieldsChanged | None = None


class TimelineLine(NamedTuple):
    """One line of a person's timeline, comparable with the live one's."""

    run: str
    at: datetime
    kind: str
    about: str
    text: str


@dataclass(frozen=True, slots=True)
class MessageOutcome:
    """What the gate said to a message at `at`; `to` is the role it was for, if any."""

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
        what = self.message.template + (f" for {self.to}" if self.to else "")
        match self.kind:
            case Status.SENT:
                return f"{what} by {self.channel}" + (f" ({why})" if why else "")
            case Status.DEFERRED:
                return f"{what} waits, because {why}"
            case Status.MERGED:
                return f"{what} by {self.channel}: {why}"
            case Status.WITHHELD | Status.REPLACED:
                return f"{what}, because {why}"


@dataclass(frozen=True, slots=True)
class NotEntered:
    """An event that could have opened a run, and why it did not."""

    at: datetime
    journey: str
    name: str
    reason: str


Story = list[tuple[SimulatedRun | None, LogLine | MessageOutcome | NotEntered]]
"""Everything decided of a person, in order, each with its run; None for an event that opened none."""


@dataclass(slots=True, eq=False)
class DeferredMessage:
    """A message of a person that the gate has deferred, and what it waits for."""

    run: SimulatedRun
    message: SendMessage
    to: str
    due: datetime
    codes: tuple[str, ...]
    waiting: QueuedMessage
    number: int
    """Its place among all that ever waited: of those due at one instant the oldest is judged first."""
    ready_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AskedMessage:
    """A message that is asked of the gate in one pass; `queued` if it has waited until now."""

    run: SimulatedRun
    message: SendMessage
    to: str
    request: SendRequest
    queued: DeferredMessage | None = None
