"""Input of `journeys.whynot` built from a simulated person, so that tests can try an answer in the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from journeys.decision.chart import Chart
from journeys.gate.status import Status
from journeys.simulation.subjects import SimulatedRun
from journeys.simulation.timeline import MessageOutcome, NotEntered
from journeys.simulation.world import World
from journeys.whynot.gate_obstacles import GateFacts
from journeys.whynot.obstacles import Obstacle, obstacles
from journeys.whynot.person_view import LastDecision, LastEvent, PastRunView, PersonView


def why_not(world: World, chart: Chart, template: str, now: datetime) -> tuple[Obstacle, ...]:
    """Obstacles between the person and this message of this journey."""
    return obstacles(chart, world.scenario.policy, template, view_of(world, chart, now), now)


def view_of(world: World, chart: Chart, now: datetime) -> PersonView:
    """The view of the one person of a simulation for one journey."""
    person = world.subjects.user("p").subject
    runs = sorted(
        (run for of_case in person.runs.values() for run in of_case if run.chart.key == chart.key),
        key=lambda run: (run.state.is_open, run.state.last_at or now),
        reverse=True,
    )
    gate = world.gate_of(person)
    recipient, operations = gate.recipient, world.operations
    gate_facts = GateFacts(
        operations.since | recipient.facts_since(now),
        sorted(name for name, times in person.tickets.items() if times.is_open),
        operations.unsendable,
    )
    last_events = {
        item.name: LastEvent(item.at, {})
        for _, item in world.timeline
        if isinstance(item, NotEntered) and item.journey == chart.key
    }
    return PersonView(
        [past_run(run) for run in runs],
        {"account": {}, **person.current_facts()},
        recipient.context(now, [queued.waiting for queued in gate.queue]),
        gate_facts,
        last_events,
        tuple(last_decisions(world)),
    )


def past_run(run: SimulatedRun) -> PastRunView:
    state = run.state
    return PastRunView(
        run.identity, run.epoch, state.state, state.entered_at, state.is_open, state.outcome, run.ended_at, state, run.case,
        run.chart.hash,
    )  # fmt: skip


def last_decisions(world: World) -> Iterator[LastDecision]:
    waiting = {
        (queued.run.identity, queued.message.action): queued.due
        for queued in world.gate_of(world.subjects.user("p").subject).queue
    }
    for run, item in reversed(world.timeline):
        if run is not None and isinstance(item, MessageOutcome):
            why = "; ".join(reason.text for reason in item.reasons)
            action = item.message.action
            if item.kind in {"sent", "merged"}:
                yield LastDecision(run.identity, action, "sent", why, None, item.at)
            elif item.kind == Status.DEFERRED and (run.identity, action) in waiting:
                yield LastDecision(
                    run.identity, action, "queued", why, waiting[run.identity, action], waiting_since(world, run, item)
                )
            else:
                yield LastDecision(run.identity, action, "withheld", why, None, item.at)


def waiting_since(world: World, run: SimulatedRun, last: MessageOutcome) -> datetime:
    """The instant of the first deferral in the current sequence of deferrals."""
    outcomes = (item for owner, item in world.timeline if owner is run and isinstance(item, MessageOutcome))
    since: datetime | None = None
    for outcome in outcomes:
        if (outcome.message, outcome.to) == (last.message, last.to):
            since = (since or outcome.at) if outcome.kind == Status.DEFERRED else None
    return since or last.at
