"""`python -m cli demo`: real purchases through the whole product, compared with the backtest."""

from __future__ import annotations

import os
import shutil
import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.catalog_folder import (
    SHIPPED,
    VARIABLE,
    journey_text,
    read_consent_file,
    read_plan_file,
    read_policy_file,
    read_team_file,
)
from cli.demonstration import live, saas, shop
from cli.demonstration.api_client import ClockNotReady
from cli.demonstration.cdnow import OBSERVED_UNTIL, CdnowUnavailable, cdnow_file, cdnow_streams
from cli.demonstration.report import DemoVerdict, show_decisions, show_saas
from cli.process_pool import Job, total
from journeys.decision.compiler import load_chart
from journeys.simulation.backtest import Stream, Tally
from journeys.simulation.timeline import Scenario
from worker.event_loop import run_until_done
from worker.logs.configuration import configure_logging
from worker.settings import Settings, SettingsError, load_settings
from worker.stack.address_checks import StackError
from worker.stack.ports import ANY_PORTS
from worker.stack.process import ProcessFailedError
from worker.stack.supervisor import Stack
from worker.stack.temporal.build import NoTemporalError

NOTICED, RETURNED = 36_580, 15_558
"""Silences of more than 60 days in the file until 1998-06-30, and those that end in a purchase. A test counts them without `decide`."""
console = Console(highlight=False, soft_wrap=True)


def command(
    customers: Annotated[int, typer.Option(min=10, help="Number of customers in the live run.")] = 150,
    days: Annotated[int, typer.Option(min=30, help="Virtual days of the live run.")] = 181,
    home: Annotated[
        Path | None, typer.Option(help="Folder of the demonstration's stack; it is emptied first [.tenure/demo].")
    ] = None,
) -> None:
    """Backtest 69,659 real orders, then run half a year live and compare line by line."""
    os.environ[VARIABLE] = str(SHIPPED)  # the expected counts are those of the shipped journeys
    try:
        configure_logging(level=30)
        streams = _purchases()
        verdict = show_backtest(streams)
        settings = load_settings(home=home or Path(".tenure/demo"), api_port=0)
        chosen = shop.some_customers(streams, customers, shop.ORIGIN + timedelta(days=days))
        live_verdict = run_until_done(play_demo(settings, chosen, days))
    except (CdnowUnavailable, ClockNotReady, SettingsError, StackError, ProcessFailedError, NoTemporalError) as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error
    faults = verdict.faults + live_verdict.faults
    for fault in faults[:20]:
        console.print(f"✗ {fault}", style="red", markup=False)
    if faults:
        raise typer.Exit(1)
    console.print("✓ live decisions equal the backtest, and every mail was sent exactly once", style="green")


def _purchases() -> list[Stream]:
    console.print("CDNOW: 69,659 purchases of 23,570 customers, 1997 to 1998 (downloaded once)")
    return cdnow_streams(cdnow_file())


def show_backtest(streams: list[Stream]) -> DemoVerdict:
    """Backtest the whole file on all cores and compare with the expected counts."""
    began = time.perf_counter()
    job = Job((journey_text(shop.JOURNEY, read_plan_file()),), read_policy_file(), frozenset(), streams, OBSERVED_UNTIL)
    tally: Tally = total(job)
    noticed = sum(n for (_, _, to), n in tally.moves.items() if to == "silent")
    returned = sum(n for (_, before, to), n in tally.moves.items() if (before, to) == ("silent", "buying"))
    console.print(
        f"backtest of {tally.people:,} customers in {time.perf_counter() - began:.1f} s: "
        f"{noticed:,} silences of more than 60 days, {returned:,} of them ended by a purchase"
    )
    verdict = DemoVerdict()
    verdict.expect((noticed, returned) == (NOTICED, RETURNED), f"expected {NOTICED:,} and {RETURNED:,}")
    return verdict


async def play_demo(settings: Settings, streams: list[Stream], days: int) -> DemoVerdict:
    """The live run, on a stack of its own."""
    shutil.rmtree(settings.home, ignore_errors=True)
    console.print(f"starting PostgreSQL, Temporal, mail sink, worker and API in {settings.home}")
    async with Stack(settings, ports=ANY_PORTS, say=_say) as stack:
        played = await live.play_live(stack, settings, streams, days, _say)
        console.print(f"played {days} days in {played.seconds:.0f} s")
        until = shop.ORIGIN + timedelta(days=days)
        company = saas.company_streams(saas.Script(), read_plan_file(), days)
        groups = [*shop.customer_streams(streams), *company]
        async with live.reading_evidence(stack) as evidence:
            verdict = await show_decisions(console, evidence, _scenario(), groups, played, until)
            saas_verdict = await show_saas(console, evidence, played)
    verdict.faults += saas_verdict.faults
    return verdict


def _scenario() -> Scenario:
    """What the live run decides by. Everybody has an inbox."""
    plan = read_plan_file()
    charts = tuple(load_chart(journey_text(journey, plan)) for journey in (shop.JOURNEY, *saas.JOURNEYS))
    return Scenario(
        charts, read_policy_file(), frozenset({"in_app"}), roster=read_team_file(), consent=read_consent_file()
    )


def _say(line: str) -> None:
    console.print(f"  {line}", markup=False)
