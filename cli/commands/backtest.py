"""`python -m cli backtest`: journeys in memory on everybody's recorded events, on all cores."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from cli.catalog_folder import journey_text, read_consent_file, read_plan_file, read_policy_file, read_team_file
from cli.commands.simulate import ConsentFile, EventName, Events, PlanFile, PolicyFile, TeamFile, Until
from cli.process_pool import Job, comparison, run_job
from cli.terminal import harmless
from cli.trial import read_events_file, until_instant
from journeys.simulation.backtest import Comparison, Tally
from journeys.simulation.responder import Responder

GroupKey = TypeVar("GroupKey")


def command(
    journeys: Annotated[list[str], typer.Argument(help="YAML files, or keys of the catalogue.", metavar="JOURNEY...")],
    events: Events,
    until: Until = None,
    against: Annotated[
        str | None, typer.Option(help="Definition to compare with: who would get more, less, earlier?")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write every decision and verdict to this file, as JSON lines.")
    ] = None,
    event: EventName = None,
    policy: PolicyFile = None,
    plan: PlanFile = None,
    team: TeamFile = None,
    consent: ConsentFile = None,
    respond: Annotated[
        str | None,
        typer.Option(help="Seed: people click, reply and opt out, and the team closes tasks.", metavar="SEED"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of processes; by default one for each core.")
    ] = None,
) -> None:
    """Run journeys on everybody's recorded events, with caps, cooldowns and consent. Nothing is sent."""
    if against is not None and out is not None:
        raise typer.BadParameter("--out and --against cannot be combined")
    began = time.perf_counter()
    tracking = read_plan_file(plan)
    texts = tuple(journey_text(journey, tracking) for journey in journeys)
    others = (journey_text(against, tracking), *texts[1:]) if against is not None else ()
    trial = read_events_file(events, tracking, event)
    for line in trial.skipped[:20]:
        typer.echo(harmless(f"skipped {line}"), err=True)
    job = Job(
        texts,
        read_policy_file(policy),
        trial.reachable,
        trial.streams,
        until_instant(until, events),
        others,
        people=out is not None,
        roster=read_team_file(team),
        consent=read_consent_file(consent),
        responder=Responder(respond) if respond is not None else None,
    )
    console = Console()
    if others:
        show_comparison(console, comparison(job, workers))
    else:
        show_tally(console, _counted(job, workers, out))
    seconds = time.perf_counter() - began
    console.print(f"{len(trial.streams):,} groups, {len(trial.skipped):,} records and traits skipped, {seconds:.1f} s")


def _counted(job: Job, workers: int | None, out: Path | None) -> Tally:
    """Counts of all people; with `out`, their lines are written as they arrive."""
    tally = Tally()
    with out.open("w", encoding="utf-8") if out is not None else nullcontext() as file:
        for counted, lines in run_job(job, workers):
            assert isinstance(counted, Tally)  # without `against`
            tally.add(counted)
            if file is not None:
                file.writelines(f"{line}\n" for line in lines)
    return tally


def show_tally(console: Console, tally: Tally) -> None:
    """Print the summary."""
    table = Table("count of", "which", "number", title="Backtest")
    table.columns[2].justify = "right"
    for noun, which, number in rows_of(tally):
        table.add_row(noun, which, f"{number:,}")
    console.print(table)


def rows_of(tally: Tally) -> Iterable[tuple[str, str, int]]:
    """Rows of the summary: what is counted, which, how many."""
    yield "people", "", tally.people
    if tally.accounts:
        yield "accounts", "", tally.accounts
    yield "events", "", tally.events
    yield from (("entered", journey, number) for journey, number in _sorted(tally.entered))
    moved = Counter({f"{before} → {to}": n for (_, before, to), n in tally.moves.items() if before})
    yield from (("moved", which, number) for which, number in _sorted(moved))
    pairs: dict[str, Counter[tuple[str, str]]] = {
        "not entered": tally.refused,
        "at the end in": tally.open_in,
        "outcome": tally.outcomes,
        "sent": tally.sent,
        "deferred": tally.deferred,
        "withheld": tally.withheld,
    }
    for noun, counter in pairs.items():
        yield from ((noun, f"{first}: {second}", number) for (first, second), number in _sorted(counter))
    yield "still waiting", "messages", tally.queued
    yield "opened", "tasks", tally.tasks


def show_comparison(console: Console, differences: Comparison) -> None:
    """Print how many people would get more, less, earlier or later, and which messages."""
    people = Table("people who would receive", "number", "for example", title="Compared with --against")
    for kind in ("more", "less", "earlier", "later", "same"):
        people.add_row(kind, f"{differences.people[kind]:,}", ", ".join(differences.examples.get(kind, [])))
    messages = Table("message", "change", "number")
    for (template, kind), number in _sorted(differences.messages):
        messages.add_row(template, kind, f"{number:,}")
    totals = Table("", "this", "the other")
    for name in ("sent", "withheld", "deferred", "outcomes"):
        totals.add_row(
            name, *(f"{sum(getattr(tally, name).values()):,}" for tally in (differences.before, differences.after))
        )
    for table in (people, messages, totals):
        console.print(table)


def _sorted(counter: Counter[GroupKey]) -> list[tuple[GroupKey, int]]:
    return sorted(counter.items(), key=lambda item: (-item[1], str(item[0])))
