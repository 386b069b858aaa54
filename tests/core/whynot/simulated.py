"""Input of `journeys.whynot` built from a simulated person, so that tests can try an answer in the simulator."""

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
    """Obstacles between this person and this message of this journey."""
    return obstacles(chart, person.scenario.policy, template, view_of(person, chart, now), now)


def view_of(person: SimulatedPerson, chart: Chart, now: datetime) -> PersonView:
    """The view of a simulated person for one journey."""
    runs = sorted(
        (run for run in person.runs.values() if run.chart.key == chart.key),
        key=lambda run: (run.state.is_open, run.state.last_at or now),
        reverse=True,
    )
    recipient = person.gate.recipient
    gate_facts = GateFacts(recipient.operations.since, sorted(recipient.tickets), recipient.operations.unsendable)
    last_events = {
        item.name: LastEvent(item.at, {})
        for _, item in person.timeline
        if isinstance(item, NotEntered) and item.journey == chart.key
    }
    return PersonView(
        [past_run(run) for run in runs],
        recipient.facts,
        recipient.context("", now, person.gate.queued_for("")),
        gate_facts,
        last_events,
        tuple(last_decisions(person)),
    )


def past_run(run: SimulatedRun) -> PastRunView:
    state = run.state
    return PastRunView(
        run.name, run.epoch, state.state, state.entered_at, state.is_open, state.outcome, run.ended_at, state, run.case,
        run.chart.hash,
    )  # fmt: skip


def last_decisions(person: SimulatedPerson) -> Iterator[LastDecision]:
    waiting = {(queued.run.name, queued.message.action): queued.due for queued in person.gate.queue}
    for run, item in reversed(person.timeline):
        if run is not None and isinstance(item, MessageOutcome):
            why = "; ".join(reason.text for reason in item.reasons)
            action = item.message.action
            if item.kind in {"sent", "merged"}:
                yield LastDecision(run.name, action, "sent", why, None, item.at)
            elif item.kind == Status.DEFERRED and (run.name, action) in waiting:
                yield LastDecision(
                    run.name, action, "queued", why, waiting[run.name, action], waiting_since(person, run, item)
                )
            else:
                yield LastDecision(run.name, action, "withheld", why, None, item.at)


def waiting_since(person: SimulatedPerson, run: SimulatedRun, last: MessageOutcome) -> datetime:
    """The instant of the first deferral in the current sequence of deferrals."""
    outcomes = (item for owner, item in person.timeline if owner is run and isinstance(item, MessageOutcome))
    since: datetime | None = None
    for outcome in outcomes:
        if (outcome.message, outcome.to) == (last.message, last.to):
            since = (since or outcome.at) if outcome.kind == Status.DEFERRED else None
    return since or last.at
