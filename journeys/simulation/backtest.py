"""Backtest: recorded events of many groups through one journey, or through two.

A group is everybody whom accounts or mailboxes connect, or one person alone: groups do not affect each other. Pure, in one process:
`cli/process_pool.py` gives each core its share of the groups and adds the tallies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime

from journeys.consent.statements import ADDRESS_FIELDS
from journeys.decision.effects import LogLine
from journeys.gate.status import Status
from journeys.simulation.recording import RecordedEvent
from journeys.simulation.responder import Responder
from journeys.simulation.simulator import play_group
from journeys.simulation.subjects import SimulatedRun
from journeys.simulation.timeline import MessageOutcome, NotEntered, Scenario, TaskChange
from journeys.simulation.world import World
from journeys.tokens.address_hash import canonical_address

Stream = tuple[str, Sequence[RecordedEvent]]
"""A group, named after whom its first event is about, and its events in the order in which they were accepted."""
Detail = Callable[[World], None]
NamedAs = tuple[str, str]
"""A kind of name (`user`, `visitor`, `account`) and the name."""


@dataclass(slots=True)
class Tally:
    """Counts: `moves` by (journey, from, to), entry from `""`; messages by action and channel or reason code."""

    people: int = 0
    accounts: int = 0
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

    def count(self, world: World, events: int) -> None:
        """Count the timeline of a group."""
        self.events += events
        self.tasks += world.board.opened
        self.queued += sum(len(gate.queue) for gate in world.gates.values())
        places: dict[SimulatedRun, str] = {}
        for run, item in world.timeline:
            match item:
                case LogLine():
                    if run is not None:
                        self._line(run, item, places)
                case MessageOutcome():
                    self._outcome(item)
                case NotEntered():
                    self.refused[item.journey, item.reason] += 1
                case TaskChange():
                    pass
        for subject in world.subjects:
            self.people += subject.kind == "user"
            self.accounts += subject.kind == "account"
            for run in subject.open:
                self.open_in[run.chart.key, run.draft.state] += 1

    def _line(self, run: SimulatedRun, line: LogLine, places: dict[SimulatedRun, str]) -> None:
        key = run.chart.key
        match line.kind:
            case "moved":
                self.moves[key, places.get(run, ""), line.about] += 1
                places[run] = line.about
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
            case Status.DEFERRED:
                self.deferred[action, outcome.reasons[0].code] += not outcome.again
            case Status.FAILED | Status.WITHHELD | Status.WITHDRAWN | Status.REPLACED:
                self.withheld[action, outcome.reasons[0].code] += 1

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


def streams_of(events: Iterable[RecordedEvent]) -> list[Stream]:
    """Events by group, each group's in order of their instants; accounts, addresses and names of events connect a group."""
    parents: dict[NamedAs, NamedAs] = {}

    def root(identity: NamedAs) -> NamedAs:
        parents.setdefault(identity, identity)
        while parents[identity] != identity:
            parents[identity] = parents[parents[identity]]  # halves the path, so that long chains stay cheap
            identity = parents[identity]
        return identity

    recorded = list(events)
    for event in recorded:
        first, *others = _identities(event)
        for other in others:
            parents[root(other)] = root(first)
    groups: dict[NamedAs, list[RecordedEvent]] = {}
    for event in recorded:
        groups.setdefault(root((event.subject, event.who)), []).append(event)
    return [(of_group[0].who, sorted(of_group, key=lambda event: event.at)) for of_group in groups.values()]


def _identities(event: RecordedEvent) -> Iterator[NamedAs]:
    yield event.subject, event.who
    if event.kind == "profile":
        for channel, field_ in ADDRESS_FIELDS.items():
            address = event.data.get(field_)
            if isinstance(address, str) and address.strip():
                yield channel, canonical_address(channel, address)
    if event.visitor:
        yield "visitor", event.visitor
    if event.account or event.kind == "account":
        yield "account", event.account or event.who


def backtest(
    scenario: Scenario,
    streams: Iterable[Stream],
    until: datetime | None,
    detail: Detail | None = None,
    responder: Responder | None = None,
) -> Tally:
    """The counts of all groups; `detail` is called with each."""
    tally = Tally()
    for _, events in streams:
        world = play_group(scenario, events, until, responder)
        tally.count(world, len(events))
        if detail is not None:
            detail(world)
        world.release()
    return tally


# -- two definitions ---------------------------------------------------------------------------------------------------

Received = dict[str, list[datetime]]
"""When a person received each message, by template."""


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


def compare(
    before: Scenario,
    after: Scenario,
    streams: Iterable[Stream],
    until: datetime | None,
    responder: Responder | None = None,
) -> Comparison:
    """The same people under both definitions."""
    result = Comparison()
    for _, events in streams:
        first, second = (play_group(scenario, events, until, responder) for scenario in (before, after))
        result.before.count(first, len(events))
        result.after.count(second, len(events))
        old, new = messages_received(first), messages_received(second)
        first.release()
        second.release()
        for person in old:
            for kind in differences(old[person], new.get(person, {}), result.messages) or {"same"}:
                result.people[kind] += 1
                if kind != "same" and len(result.examples.setdefault(kind, [])) < 5:
                    result.examples[kind].append(person)
    return result


def messages_received(world: World) -> dict[str, Received]:
    """The messages sent to each person of a group."""
    received: dict[str, Received] = {subject.name: {} for subject in world.subjects if subject.kind == "user"}
    for _, item in world.timeline:
        if isinstance(item, MessageOutcome) and item.kind in {Status.SENT, Status.MERGED}:
            received.setdefault(item.to, {}).setdefault(item.message.template, []).append(item.at)
    return received


def differences(before: Received, after: Received, messages: Counter[tuple[str, str]]) -> set[str]:
    """`more`, `less`, `earlier`, `later`: message by message, the n-th with the n-th; also counted by template."""
    kinds: set[str] = set()
    for template in dict.fromkeys((*before, *after)):
        old, new = before.get(template, []), after.get(template, [])
        more = len(new) - len(old)
        if more:
            kind = "more" if more > 0 else "less"
            kinds.add(kind)
            messages[template, kind] += abs(more)
        for was, now in zip(old, new, strict=False):
            if was != now:
                kind = "earlier" if now < was else "later"
                kinds.add(kind)
                messages[template, kind] += 1
    return kinds
