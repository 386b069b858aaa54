"""What `whynot.py` asks, answered for a person in memory, so that an answer can be tried in the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from journeys.decision.chart import Chart
from journeys.gate.status import Status
from journeys.simulation.person import SimulatedPerson
from journeys.simulation.timeline import MessageOutcome, NotEntered, SimulatedRun
from journeys.whynot.gate_obstacles import GateFacts
from journeys.whynot.obstacles import Obstacle, obstacles
from journeys.whynot.person_view import LastDecision, LastEvent, PastRunView, PersonView


def why_not(person: SimulatedPerson, chart: Chart, template: str, now: datetime) -> tuple[Obstacle, ...]:
    """What stands between this person and this message of this journey."""
    return obstacles(chart, person.world.policy, template, known_of(person, chart, now), now)


def known_of(person: SimulatedPerson, chart: Chart, now: datetime) -> PersonView:
    """All that the person in memory knows where one journey is concerned."""
    runs = sorted(
        (run for run in person.runs.values() if run.chart.key == chart.key),
        key=lambda run: (run.state.is_open, run.state.last_at or now),
        reverse=True,
    )
    known = person.gate.recipient
    around = GateFacts(known.outside.since, sorted(known.tickets), known.outside.unsendable)
    heard = {
        item.name: LastEvent(item.at, {})
        for _, item in person.story
        if isinstance(item, NotEntered) and item.journey == chart.key
    }
    return PersonView(
        [_been(run) for run in runs],
        known.facts,
        known.context("", now, person.gate.queued_for("")),
        around,
        heard,
        tuple(_decided(person)),
    )


def _been(run: SimulatedRun) -> PastRunView:
    state = run.state
    return PastRunView(
        run.name, run.epoch, state.state, state.entered_at, state.is_open, state.outcome, run.ended_at, state, run.case,
        run.chart.hash,
    )  # fmt: skip


def _decided(person: SimulatedPerson) -> Iterator[LastDecision]:
    waiting = {(each.run.name, each.message.action): each.due for each in person.gate.queue}
    for run, item in reversed(person.story):
        if run is not None and isinstance(item, MessageOutcome):
            why = "; ".join(reason.text for reason in item.reasons)
            action = item.message.action
            if item.kind in {"sent", "merged"}:
                yield LastDecision(run.name, action, "sent", why, None, item.at)
            elif item.kind == Status.DEFERRED and (run.name, action) in waiting:
                yield LastDecision(
                    run.name, action, "queued", why, waiting[run.name, action], _began(person, run, item)
                )
            else:
                yield LastDecision(run.name, action, "withheld", why, None, item.at)


def _began(person: SimulatedPerson, run: SimulatedRun, last: MessageOutcome) -> datetime:
    """Since when it has waited, whatever it waited for before."""
    fates = (item for whose, item in person.story if whose is run and isinstance(item, MessageOutcome))
    began: datetime | None = None
    for fate in fates:
        if (fate.message, fate.to) == (last.message, last.to):
            began = (began or fate.at) if fate.kind == Status.DEFERRED else None
    return began or last.at
