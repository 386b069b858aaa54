"""`python -m cli simulate`: journeys in memory on recorded events of a group."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.catalog_folder import journey_text, read_consent_file, read_plan_file, read_policy_file, read_team_file
from cli.terminal import harmless
from cli.trial import read_events_file, until_instant
from journeys.decision.compiler import load_chart
from journeys.simulation.simulator import simulate, timeline_table
from journeys.simulation.timeline import Scenario

Events = Annotated[
    str, typer.Option("--events", help="JSON lines of Segment calls, a CSV file with a header, or `cdnow`.")
]
Until = Annotated[str | None, typer.Option(help="End of the simulation, inclusive: a day or an instant.")]
EventName = Annotated[
    str | None, typer.Option("--event", help="Event of every row of a CSV file without a column `event`.")
]
PolicyFile = Annotated[
    Path | None, typer.Option("--policy", exists=True, help="Policy file instead of the catalogue's.")
]
PlanFile = Annotated[Path | None, typer.Option("--plan", exists=True, help="Tracking plan instead of the catalogue's.")]
TeamFile = Annotated[Path | None, typer.Option("--team", exists=True, help="Team file instead of the catalogue's.")]
ConsentFile = Annotated[
    Path | None, typer.Option("--consent", exists=True, help="Consent rules instead of the catalogue's.")
]


def command(
    journeys: Annotated[list[str], typer.Argument(help="YAML files, or keys of the catalogue.", metavar="JOURNEY...")],
    events: Events,
    person: Annotated[str | None, typer.Option(help="Id of the person; by default the first.")] = None,
    until: Until = None,
    event: EventName = None,
    policy: PolicyFile = None,
    plan: PlanFile = None,
    team: TeamFile = None,
    consent: ConsentFile = None,
) -> None:
    """Run journeys on the recorded events of a person and their account, and print the timeline. Nothing is sent."""
    tracking = read_plan_file(plan)
    texts = [journey_text(journey, tracking) for journey in journeys]
    trial = read_events_file(events, tracking, event, person)
    if not trial.streams:
        raise typer.BadParameter(f"{events} has no events" + (f" of {person}" if person else ""))
    for line in trial.skipped:
        typer.echo(harmless(f"skipped {line}"), err=True)
    group, recorded = trial.streams[0]
    if len(trial.streams) > 1:
        text = f"{len(trial.streams)} people or accounts; this is {group}. Use --person for another."
        typer.echo(harmless(text), err=True)
    scenario = Scenario(
        tuple(load_chart(text) for text in texts),
        read_policy_file(policy),
        trial.reachable,
        roster=read_team_file(team),
        consent=read_consent_file(consent),
    )
    typer.echo(harmless(timeline_table(simulate(scenario, recorded, until_instant(until, events), person))))
