"""Scenario and timeline of a simulation: assumptions, outcomes of messages, refused entries, tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from journeys.consent.rules import ConsentRules
from journeys.decision.chart import Chart
from journeys.decision.effects import LogLine, SendMessage
from journeys.frozen import frozen
from journeys.gate.policy import Policy, horizon
from journeys.gate.status import Status
from journeys.gate.verdicts import Reason
from journeys.language.signal_names import MESSAGE_REPLIED, play_signal
from journeys.simulation.subjects import SimulatedRun
from journeys.tasks.assignment import Roster

SimulatedStatus = Literal[
    Status.SENT, Status.MERGED, Status.DEFERRED, Status.FAILED, Status.WITHHELD, Status.WITHDRAWN, Status.REPLACED
]
"""The statuses of messages in memory: every attempt succeeds at once, so none is in flight or in doubt."""


class Scenario:
    """What a simulation assumes. Every person is reached by the channels `reachable`.

    `roster` has the team's hours and absences, `consent` the confirmations and consent signals, and `template_owners` who
    answers a reply to a template.
    """

    def __init__(
        self,
        charts: tuple[Chart, ...],
        policy: Policy,
        reachable: frozenset[str] = frozenset({"in_app"}),
        *,
        roster: Roster | None = None,
        consent: ConsentRules | None = None,
        template_owners: Mapping[str, str] | None = None,
    ) -> None:
        self.charts, self.policy = tuple(sorted(charts, key=lambda chart: chart.key)), policy
        self.addresses = dict.fromkeys(sorted(reachable), True)
        self.roster, self.consent = roster or Roster(), consent or ConsentRules()
        self.template_owners = template_owners or {}
        self.horizon = horizon(policy)
        self.opening = self._by_name(lambda chart: (*chart.spec.entry.on, play_signal(chart.key)))
        self.looked_back = self._by_name(lambda chart: chart.looked_back)
        self.longest_lookback = max((chart.limits.longest_lookback for chart in charts), default=timedelta())
        self.hearing = self._by_name(lambda chart: chart.signals)
        self.anchored = frozenset(chart.key for chart in charts if chart.follows_fields)
        users = [chart for chart in charts if chart.spec.subject == "user"]
        self.member_signals = frozenset(name for chart in users for name in chart.signals)
        """Signals of an account that some journey of people reads, so its members receive them."""
        self.member_fields = frozenset(name for chart in users for name in chart.fields["account"])
        """Fields of an account that some journey of people reads."""
        tickets = policy.urgent_ticket
        self.ticket_signals = frozenset({*tickets.opened_by, *tickets.resolved_by})
        self.reaction_signals = frozenset({MESSAGE_REPLIED, *self.consent.signals, *self.consent.suppress})
        """Signals by which people answer, change their consent, or an address is suppressed."""

    def _by_name(self, names: Callable[[Chart], Iterable[str]]) -> dict[str, tuple[Chart, ...]]:
        index: dict[str, tuple[Chart, ...]] = {}
        for chart in self.charts:
            for name in sorted(set(names(chart))):
                index[name] = (*index.get(name, ()), chart)
        return index


class TimelineLine(NamedTuple):
    """One line of a run's timeline, comparable with the live one's; `subject` is the person or account of the run."""

    subject: str
    run: str
    at: datetime
    kind: str
    about: str
    text: str


@frozen
class MessageOutcome:
    """The gate's verdict on a message at `at`; `to` is its recipient, empty where an account has none.

    `again`: a deferral for the same reasons as before. `key` identifies the message in the simulation.
    """

    at: datetime
    kind: SimulatedStatus
    message: SendMessage
    to: str
    reasons: tuple[Reason, ...]
    channel: str = ""
    until: datetime | None = None
    again: bool = False
    key: str = ""

    @property
    def text(self) -> str:
        """The verdict in words."""
        why = "; ".join(reason.text for reason in self.reasons)
        message = self.message.template + (f" for {self.to}" if self.message.roles and self.to else "")
        match self.kind:
            case Status.SENT:
                return f"{message} by {self.channel}" + (f" ({why})" if why else "")
            case Status.DEFERRED:
                return f"{message} waits, because {why}"
            case Status.MERGED:
                return f"{message} by {self.channel}: {why or 'sent together with others'}"
            case Status.FAILED | Status.WITHHELD | Status.WITHDRAWN | Status.REPLACED:
                return f"{message}, because {why}"


@dataclass(frozen=True, slots=True)
class NotEntered:
    """An event of `subject` that could have opened a run, and the reason why it did not."""

    at: datetime
    journey: str
    name: str
    reason: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class TaskChange:
    """A change of a task, with the owner and the deadline after it. `subject` is the account or person that the task is of."""

    at: datetime
    kind: Literal["opened", "joined", "escalated", "closed", "withdrawn"]
    name: str
    task: str
    owner: str
    due_at: datetime | None
    why: str
    subject: str

    @property
    def text(self) -> str:
        """The change in words."""
        due = f", due {self.due_at:%Y-%m-%d %H:%M}" if self.due_at is not None else ""
        match self.kind:
            case "opened" | "joined" | "escalated":
                return f"{self.task} for {self.owner} ({self.why}){due}"
            case "closed" | "withdrawn":
                return f"{self.task}: {self.why}"


TimelineItem = LogLine | MessageOutcome | NotEntered | TaskChange
Timeline = list[tuple[SimulatedRun | None, TimelineItem]]
"""All that was decided, in order, each with its run; None for an event that opened none and for a reply's task."""
