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
    """One line: when, in which run (empty for an event of the person), what, and why."""

    at: datetime
    run: str
    what: str
    why: str


def simulate(world: Scenario, events: Iterable[RecordedEvent], until: datetime | None = None) -> tuple[Moment, ...]:
    """What happens to one person until `until`, inclusive; without it, until the last event."""
    person, moments = SimulatedPerson(world), []
    told = 0
    for event in sorted(events, key=lambda each: each.at):
        if until is not None and event.at > until:
            break
        person.until(event.at)
        moments += [_moment(*item) for item in person.story[told:]]
        moments.append(Moment(event.at, "", event.kind, _event(event)))
        told = len(person.story)
        person.happen(event)
        moments += [_moment(*item) for item in person.story[told:]]
        told = len(person.story)
    if until is not None:
        person.until(until)
    return (*moments, *(_moment(*item) for item in person.story[told:]), *_endings(person, until))


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
    """Where each open run stands at the end, and what it waits for."""
    for run in person.open:
        at = until or run.state.last_at
        if at is not None:
            waits = "waits for no time" if run.due is None else f"wakes {run.due:%Y-%m-%d %H:%M}"
            yield Moment(at, run.name, "open", f"in {run.state.state}; {waits}")
    for queued in person.gate.queue:
        due = queued.due
        yield Moment(
            until or due, queued.run.name, "queued", f"{queued.message.template}, judged again {due:%Y-%m-%d %H:%M}"
        )
