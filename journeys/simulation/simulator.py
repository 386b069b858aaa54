"""Simulator: one person's recorded events as a timeline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from journeys.decision.effects import LogLine
from journeys.simulation.person import SimulatedPerson
from journeys.simulation.recording import RecordedEvent
from journeys.simulation.timeline import MessageOutcome, NotEntered, Scenario, SimulatedRun


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the timeline; `run` is empty for an event of the person."""

    at: datetime
    run: str
    what: str
    why: str


def simulate(scenario: Scenario, events: Iterable[RecordedEvent], until: datetime | None = None) -> tuple[Moment, ...]:
    """The timeline of one person until `until`, inclusive; without it, until the last event."""
    person, moments = SimulatedPerson(scenario), []
    shown = 0
    for event in sorted(events, key=lambda event: event.at):
        if until is not None and event.at > until:
            break
        person.until(event.at)
        moments += [_moment(*item) for item in person.timeline[shown:]]
        moments.append(Moment(event.at, "", event.kind, _event(event)))
        shown = len(person.timeline)
        person.accept(event)
        moments += [_moment(*item) for item in person.timeline[shown:]]
        shown = len(person.timeline)
    if until is not None:
        person.until(until)
    return (*moments, *(_moment(*item) for item in person.timeline[shown:]), *_endings(person, until))


def timeline_table(moments: Sequence[Moment]) -> str:
    """The timeline as text: instant, run, what, why."""
    width = max((len(moment.run) for moment in moments), default=0)
    kinds = max((len(moment.what) for moment in moments), default=0)
    return "\n".join(
        f"{moment.at:%Y-%m-%d %H:%M}  {moment.run:{width}}  {moment.what:{kinds}}  {moment.why}".rstrip()
        for moment in moments
    )


def _moment(run: SimulatedRun | None, item: LogLine | MessageOutcome | NotEntered) -> Moment:
    name = run.name if run is not None else ""
    match item:
        case LogLine():
            return Moment(item.at, name, item.kind, item.text)
        case MessageOutcome():
            until = f", until {item.until:%Y-%m-%d %H:%M}" if item.until is not None else ""
            return Moment(item.at, name, item.kind, item.text + until)
        case NotEntered():
            return Moment(item.at, item.journey, "not entered", f"on {item.name}: {item.reason}")


def _event(event: RecordedEvent) -> str:
    values = ", ".join(f"{name}={value}" for name, value in event.data.items())
    return f"{event.name} {values}".strip()


def _endings(person: SimulatedPerson, until: datetime | None) -> Iterable[Moment]:
    """A line for each open run and each queued message at the end, with what it waits for."""
    for run in person.open:
        at = until or run.state.last_at
        if at is not None:
            timer = "no timer is set" if run.due is None else f"next timer {run.due:%Y-%m-%d %H:%M}"
            yield Moment(at, run.name, "open", f"in {run.state.state}; {timer}")
    for queued in person.gate.queue:
        due = queued.due
        yield Moment(
            until or due, queued.run.name, "queued", f"{queued.message.template}, decided again {due:%Y-%m-%d %H:%M}"
        )
