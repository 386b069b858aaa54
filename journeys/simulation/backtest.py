"""Backtest: recorded events of many people through one journey, or through two.

Pure, in one process: `cli/process_pool.py` gives each core its share of the people and adds the tallies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime

from journeys.decision.effects import LogLine
from journeys.gate.status import Status
from journeys.simulation.person import SimulatedPerson
from journeys.simulation.recording import RecordedEvent
from journeys.simulation.timeline import MessageOutcome, NotEntered, Scenario, SimulatedRun

Stream = tuple[str, Sequence[RecordedEvent]]
"""A person and their events, in the order in which they were accepted."""
Detail = Callable[[str, SimulatedPerson], None]


@dataclass(slots=True)
class Tally:
    """Counts: `moves` by (journey, from, to), entry from `""`; messages by action and channel or reason code."""

    people: int = 0
    events: int = 0
    entered: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    moves: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    open_in: Counter[tuple[str, str]] = field(default_factory=Counter)
    sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    withheld: Counter[tuple[str, str]] = field(default_factory=Counter)
    deferred: Counter[tuple[str, str]] = field(default_factory=Counter)
    queued: int = 0
    tasks: int = 0

    def count(self, person: SimulatedPerson, events: int) -> None:
        """Count one person's timeline."""
        self.people += 1
        self.events += events
        self.tasks += person.tasks
        self.queued += len(person.gate.queue)
        for run, item in person.timeline:
            match item:
                case LogLine():
                    if run is not None:
                        self._line(run, item)
                case MessageOutcome():
                    self._outcome(item)
                case NotEntered():
                    self.refused[item.journey, item.reason] += 1
        for run in person.open:
            self.open_in[run.chart.key, run.state.state] += 1

    def _line(self, run: SimulatedRun, line: LogLine) -> None:
        key = run.chart.key
        match line.kind:
            case "moved":
                self.moves[key, run.place, line.about] += 1
                run.place = line.about
            case "entered":
                self.entered[key] += 1
            case "finished":
                self.outcomes[key, line.about] += 1
            case _:
                pass

    def _outcome(self, outcome: MessageOutcome) -> None:
        action = outcome.message.action
        match outcome.kind:
            case Status.SENT:
                self.sent[action, outcome.channel] += 1
            case Status.MERGED:
                self.sent[action, f"{outcome.channel}, in one with others"] += 1
            case Status.WITHHELD | Status.REPLACED:
                self.withheld[action, outcome.reasons[0].code] += 1
            case Status.DEFERRED:
                self.deferred[action, outcome.reasons[0].code] += 1

    def add(self, other: Tally) -> None:
        """Add the counts of another process."""
        for name in (field_.name for field_ in fields(self)):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def moves_into(self, journey: str) -> Counter[str]:
        """How often each state of a journey was entered."""
        into: Counter[str] = Counter()
        for (key, _, to), count in self.moves.items():
            if key == journey:
                into[to] += count
        return into


def play_person(scenario: Scenario, events: Sequence[RecordedEvent], until: datetime | None) -> SimulatedPerson:
    """A person after all their events and timers up to `until`, inclusive."""
    person = SimulatedPerson(scenario)
    for event in events:
        if until is not None and event.at > until:
            break
        person.accept(event)
    if until is not None:
        person.until(until)
    return person


def backtest(
    scenario: Scenario, streams: Iterable[Stream], until: datetime | None, detail: Detail | None = None
) -> Tally:
    """The counts of all people; `detail` is called with each person."""
    tally = Tally()
    for who, events in streams:
        person = play_person(scenario, events, until)
        tally.count(person, len(events))
        if detail is not None:
            detail(who, person)
    return tally


# -- two definitions ---------------------------------------------------------------------------------------------------

Received = dict[tuple[str, str], list[datetime]]
"""When a person received each message, by template and role."""


@dataclass(slots=True)
class Comparison:
    """People who would have received more, less, earlier or later with the other definition; one may be in several."""

    before: Tally = field(default_factory=Tally)
    after: Tally = field(default_factory=Tally)
    people: Counter[str] = field(default_factory=Counter)
    messages: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, other: Comparison) -> None:
        """Add the counts of another process."""
        self.before.add(other.before)
        self.after.add(other.after)
        self.people += other.people
        self.messages += other.messages
        for kind, names in other.examples.items():
            self.examples[kind] = (self.examples.get(kind, []) + names)[:5]


def compare(before: Scenario, after: Scenario, streams: Iterable[Stream], until: datetime | None) -> Comparison:
    """The same people under both definitions."""
    result = Comparison()
    for who, events in streams:
        first, second = play_person(before, events, until), play_person(after, events, until)
        result.before.count(first, len(events))
        result.after.count(second, len(events))
        for kind in differences(messages_received(first), messages_received(second), result.messages) or {"same"}:
            result.people[kind] += 1
            if kind != "same" and len(result.examples.setdefault(kind, [])) < 5:
                result.examples[kind].append(who)
    return result


def messages_received(person: SimulatedPerson) -> Received:
    """The messages sent to this person."""
    received: Received = {}
    for _, item in person.timeline:
        if isinstance(item, MessageOutcome) and item.kind in {Status.SENT, Status.MERGED}:
            received.setdefault((item.message.template, item.to), []).append(item.at)
    return received


def differences(before: Received, after: Received, messages: Counter[tuple[str, str]]) -> set[str]:
    """`more`, `less`, `earlier`, `later`: message by message, the n-th with the n-th; also counted by template."""
    kinds: set[str] = set()
    for key in dict.fromkeys((*before, *after)):
        old, new = before.get(key, []), after.get(key, [])
        more = len(new) - len(old)
        if more:
            kind = "more" if more > 0 else "less"
            kinds.add(kind)
            messages[key[0], kind] += abs(more)
        for was, now in zip(old, new, strict=False):
            if was != now:
                kind = "earlier" if now < was else "later"
                kinds.add(kind)
                messages[key[0], kind] += 1
    return kinds
