"""Simulator: recorded events of a group as a timeline and as comparable lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from journeys.decision.effects import LogLine
from journeys.gate.status import MEANINGS, Status
from journeys.simulation.recording import RecordedEvent
from journeys.simulation.responder import Answers, ReceivedMessage, ReceivedTask, Responder
from journeys.simulation.subjects import SimulatedRun
from journeys.simulation.timeline import MessageOutcome, NotEntered, Scenario, TaskChange, TimelineItem
from journeys.simulation.world import World


def play_group(
    scenario: Scenario,
    events: Iterable[RecordedEvent],
    until: datetime | None = None,
    responder: Responder | None = None,
) -> World:
    """A group after all its events, answers and timers up to `until`, inclusive; without it, up to the last event."""
    world = World(scenario)
    if responder is not None:
        _AnsweredGroup(world, responder).play(events, until)
        return world
    for event in events:
        if until is not None and event.at > until:
            break
        world.accept(event)
    if until is not None:
        world.until(until)
    return world


class _AnsweredGroup:
    """Plays a group with a responder: at one instant what is due, then recorded events, then answers."""

    def __init__(self, world: World, responder: Responder) -> None:
        self.world, self.responder, self.answers = world, responder, Answers()
        self._read = 0

    def play(self, events: Iterable[RecordedEvent], until: datetime | None) -> None:
        for event in events:
            if until is not None and event.at > until:
                break
            self._advance(event.at, inclusive=False)
            self.world.accept(event)
            self._collect()
        if until is not None:
            self._advance(until, inclusive=True)

    def _advance(self, to: datetime, *, inclusive: bool) -> None:
        """Decide what is due until `to`, and give the answers that come before it; `inclusive`: also at it."""
        while True:
            due, answered_at = self.world.next_due(), self.answers.next_at()
            if due is not None and due <= to and (answered_at is None or due <= answered_at):
                self.world.until(due)
            elif answered_at is not None and (answered_at < to or (inclusive and answered_at == to)):
                self._give(answered_at)
            else:
                return
            self._collect()

    def _give(self, at: datetime) -> None:
        answer = self.answers.take()
        if answer.kind != "closed":
            self.world.accept(answer.as_event())
            return
        for task in self.world.board.tasks:
            if (task.name, task.opened_at) == (answer.about, answer.opened_at):
                self.world.close_task(task, answer.data["outcome"], answer.data["by"], answer.data["note"], at)
                return

    def _collect(self) -> None:
        """Ask the responder about the messages that were sent and the tasks that were opened meanwhile."""
        timeline, team = self.world.timeline, self.world.scenario.roster.team
        for run, item in timeline[self._read :]:
            match item:
                case MessageOutcome(kind=Status.SENT | Status.MERGED) if run is not None:
                    self.answers.add(self.responder.answers_to_message(_received(run, item)))
                case TaskChange(kind="opened"):
                    received = ReceivedTask(item.name, item.task, team.outcomes(item.task), item.at)
                    self.answers.add(self.responder.answers_to_task(received))
                case _:
                    pass
        self._read = len(timeline)


def _received(run: SimulatedRun, item: MessageOutcome) -> ReceivedMessage:
    message = item.message
    return ReceivedMessage(
        item.key, item.to, run.chart.key, message.action, message.template, item.channel, message.topic, item.at
    )


# -- lines that compare with a live run's ------------------------------------------------------------------------------


class ComparableLine(NamedTuple):
    """A line of a run's log, or a verdict on a message, in the order in which the group was decided.

    `name` is the run (`journey/subject/case/epoch`) or the message (`<run>#<request>><person>`). `what` is the kind of the
    log line, or the verdict's word in the feed; `about` and `text` are those of the line, or the channel and the reasons.
    """

    name: str
    at: datetime | None
    what: str
    about: str
    text: str
    until: datetime | None = None


def with_kept_instants(lines: Sequence[ComparableLine]) -> list[ComparableLine]:
    """Lines with the instants that the store keeps: of the verdicts on one message it has that of the last alone."""
    last = {line.name: number for number, line in enumerate(lines)}
    return [
        line._replace(at=None) if "#" in line.name and last[line.name] != number else line
        for number, line in enumerate(lines)
    ]


def comparable_lines(world: World) -> list[ComparableLine]:
    """Every decision and every verdict of a group, in order.

    A verdict that is repeated unchanged at one instant is one line: the feed has no second one (`store/exports/feed.sql`).
    """
    lines, verdicts = list[ComparableLine](), dict[str, ComparableLine]()
    for run, item in world.timeline:
        line = _comparable(run, item) if run is not None else None
        if line is None or verdicts.get(line.name) == line:
            continue
        if isinstance(item, MessageOutcome):
            verdicts[line.name] = line
        lines.append(line)
    return lines


def _comparable(run: SimulatedRun, item: TimelineItem) -> ComparableLine | None:
    match item:
        case LogLine():
            return ComparableLine(run.identity, item.at, item.kind, item.about, item.text)
        case MessageOutcome():
            why = "; ".join(f"{reason.code}: {reason.text}" for reason in item.reasons)
            return ComparableLine(item.key, item.at, MEANINGS[item.kind].verdict, item.channel, why, item.until)
        case NotEntered() | TaskChange():
            return None


# -- a timeline to read ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the timeline; `who` is the person or account it is about, `run` is empty for an event."""

    at: datetime
    run: str
    what: str
    why: str
    who: str = ""


def simulate(
    scenario: Scenario, events: Iterable[RecordedEvent], until: datetime | None = None, person: str | None = None
) -> tuple[Moment, ...]:
    """The timeline of a group until `until`, inclusive; without it, until the last event.

    With `person`: what that person did and received, and what was decided for their accounts.
    """
    world, moments = World(scenario), list[Moment]()
    shown = 0
    for event in sorted(events, key=lambda event: event.at):
        if until is not None and event.at > until:
            break
        world.until(event.at)
        moments += [_moment(*item) for item in world.timeline[shown:] if _is_shown(item[1])]
        moments.append(Moment(event.at, "", event.kind, _event(event), event.who))
        shown = len(world.timeline)
        world.accept(event)
        moments += [_moment(*item) for item in world.timeline[shown:] if _is_shown(item[1])]
        shown = len(world.timeline)
    if until is not None:
        world.until(until)
    moments += [_moment(*item) for item in world.timeline[shown:] if _is_shown(item[1])]
    moments += _endings(world, until)
    if person is None:
        return tuple(moments)
    return tuple(moment for moment in moments if moment.who in _names(world, person))


def timeline_table(moments: Sequence[Moment]) -> str:
    """The timeline as text: instant, who if there are several, run, what, why."""
    several = len({moment.who for moment in moments}) > 1
    names = max((len(moment.who) for moment in moments), default=0) + 2 if several else 0
    width = max((len(moment.run) for moment in moments), default=0)
    kinds = max((len(moment.what) for moment in moments), default=0)
    return "\n".join(
        f"{moment.at:%Y-%m-%d %H:%M}  {moment.who if several else '':{names}}"
        f"{moment.run:{width}}  {moment.what:{kinds}}  {moment.why}".rstrip()
        for moment in moments
    )


def _names(world: World, person: str) -> frozenset[str]:
    """A person with the accounts that they belong to."""
    subject = world.subjects.users.get(person) or world.subjects.visitors.get(person)
    return frozenset({person, *(account.name for account in subject.accounts)}) if subject is not None else frozenset()


def _is_shown(item: TimelineItem) -> bool:
    return not (isinstance(item, MessageOutcome) and item.again)


def _moment(run: SimulatedRun | None, item: TimelineItem) -> Moment:
    name, who = (run.name, run.subject.name) if run is not None else ("", "")
    match item:
        case LogLine():
            return Moment(item.at, name, item.kind, item.text, who)
        case MessageOutcome():
            until = f", until {item.until:%Y-%m-%d %H:%M}" if item.until is not None else ""
            return Moment(item.at, name, item.kind, item.text + until, who)
        case NotEntered():
            return Moment(item.at, item.journey, "not entered", f"on {item.name}: {item.reason}", item.subject)
        case TaskChange():
            return Moment(item.at, name, f"task {item.kind}", item.text, item.subject)


def _event(event: RecordedEvent) -> str:
    values = ", ".join(f"{name}={value}" for name, value in event.data.items())
    return f"{event.name} {values}".strip()


def _endings(world: World, until: datetime | None) -> Iterator[Moment]:
    """A line for each open run and each queued message at the end, with what it waits for."""
    for run in world.open_runs:
        at = until or run.draft.last_at
        if at is not None:
            timer = "no timer is set" if run.due is None else f"next timer {run.due:%Y-%m-%d %H:%M}"
            yield Moment(at, run.name, "open", f"in {run.draft.state}; {timer}", run.subject.name)
    for gate in world.gates.values():
        for queued in gate.queue:
            text = f"{queued.message.template}, decided again {queued.due:%Y-%m-%d %H:%M}"
            yield Moment(until or queued.due, queued.run.name, "queued", text, queued.run.subject.name)
