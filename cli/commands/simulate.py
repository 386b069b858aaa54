"""`python -m cli simulate`: what a journey would do with one person's recorded events. Nothing is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.trial import journey_text, read_events_file, read_plan_file, read_policy_file, until_instant
from journeys.decision.compiler import load_chart
from journeys.simulation.simulator import simulate, timeline_table
from journeys.simulation.timeline import Scenario

Events = Annotated[str, typer.Option("--events", help="JSON lines of Segment calls, a CSV with a header, or `cdnow`.")]
Until = Annotated[str | None, typer.Option(help="Let time pass until then, inclusive: a day or an instant.")]
EventName = Annotated[str | None, typer.Option("--event", help="What a row of a CSV without a column `event` means.")]
PolicyFile = Annotated[Path | None, typer.Option("--policy", exists=True, help="Another policy than the catalogue's.")]
PlanFile = Annotated[Path | None, typer.Option("--plan", exists=True, help="Another tracking plan.")]


def command(
    journeys: Annotated[list[str], typer.Argument(help="YAML files, or keys of the catalogue.", metavar="JOURNEY...")],
    events: Events,
    person: Annotated[str | None, typer.Option(help="Whose events; the first person's if left out.")] = None,
    until: Until = None,
    event: EventName = None,
    policy: PolicyFile = None,
    plan: PlanFile = None,
) -> None:
    """Try a journey on one person's recorded events: a timeline of what, when and why. Nothing is sent."""
    tracking = read_plan_file(plan)
    texts = [journey_text(journey, tracking) for journey in journeys]
    trial = read_events_file(events, tracking, event, person)
    if not trial.streams:
        raise typer.BadParameter(f"{events} has no events" + (f" of {person}" if person else ""))
    for line in trial.skipped:
        typer.echo(f"skipped {line}", err=True)
    who, recorded = trial.streams[0]
    if len(trial.streams) > 1:
        typer.echo(f"{len(trial.streams)} people; this is {who}. Choose another with --person.", err=True)
    world = Scenario(tuple(load_chart(text) for text in texts), read_policy_file(policy), trial.reachable)
    typer.echo(timeline_table(simulate(world, recorded, until_instant(until, events))))
