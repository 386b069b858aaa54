"""Everything that was accepted during an outage of one process is sent within 15 seconds of its end, once.

`python -m pytest -s` of this file prints one JSON line for each outage. It takes six minutes, nearly all of them the outages' own:
a process must stand still for longer than leases, Temporal's timeouts and pauses between polls last. `make test` has the shortest
outages of which that is true, `make test-long` the others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio
from _pytest.mark import ParameterSet

from store.database import Database
from tests.conftest import remove_settings
from tests.storm.outages import Outage, OutageReport, measure_outage
from tests.storm.plan import Storm, write_catalog
from tests.storm.run import NAIVE, publish, say_nothing, second_worker
from worker.settings import load_settings
from worker.stack.supervisor import MODULES, Stack

MOST_SECONDS = 15.0
STORM = Storm(7, events=200, users=50, fail_rate=0.0, drop_rate=0.0)
STOPPED, KILLED = 30.0, 10.0
OF_EVERY_RUN = (
    Outage("stopped", "worker", 14.0),
    Outage("killed", "temporal", 12.0),
    Outage("killed", "postgres", 12.0),
)
"""Measured by `make test`: each lasts longer than a lease, than Temporal's timeout of a workflow task and than the
longest pause between two polls, which are ten seconds at most."""
LONGER = (
    Outage("stopped", "api", STOPPED),
    Outage("stopped", "worker", STOPPED),
    Outage("stopped", "temporal", STOPPED),
    Outage("stopped", "postgres", STOPPED),
    Outage("killed", "api", KILLED),
    Outage("killed", "worker", KILLED),
    Outage("killed", "temporal", 2 * KILLED),
    Outage("killed", "postgres", 2 * KILLED),
)
"""Measured by `make test-long`."""

pytestmark = [pytest.mark.slow, pytest.mark.alone]


def _cases() -> list[ParameterSet]:
    short = [pytest.param(outage, id=outage.name) for outage in OF_EVERY_RUN]
    return short + [pytest.param(outage, id=f"longer-{outage.name}", marks=pytest.mark.long) for outage in LONGER]


@dataclass(frozen=True, slots=True)
class Measured:
    """A running stack on which outages are measured one after another."""

    stack: Stack
    database: Database
    home: Path

    async def outage(self, outage: Outage, storm: Storm = STORM) -> OutageReport:
        """Measure one, and print its report as a line, also when the test passes."""
        report = await measure_outage(self.stack, self.database, self.home / "mail", outage, storm)
        sys.stderr.write(f"\n{report.line()}\n")
        return report


@asynccontextmanager
async def measured_stack(
    home: Path, storm: Storm, modules: Mapping[str, Sequence[str]] = MODULES
) -> AsyncIterator[Measured]:
    """A stack with one worker, which publishes the storm's journey."""
    settings = load_settings(
        home=home,
        api_port=0,
        worker_port=0,
        catalog=write_catalog(home / "catalog"),
        graceful_shutdown_seconds=5,
        log_format="json",
    )
    async with Stack(settings, mail_options=storm.mail_options, modules=modules, say=say_nothing) as stack:
        database = Database(stack.endpoints.database_url, pool=2)
        await publish(database)
        try:
            yield Measured(stack, database, home)
        finally:
            await database.close()


@pytest_asyncio.fixture(scope="module")
async def measured(run_folder: Path) -> AsyncIterator[Measured]:
    """One stack for all outages: its start would take longer than some of them."""
    with pytest.MonkeyPatch.context() as patch:
        remove_settings(patch)
        async with measured_stack(run_folder / "home-of-outages", STORM) as stack:
            yield stack


@pytest.mark.parametrize("outage", _cases())
async def test_everything_is_sent_once_and_soon_after_an_outage(measured: Measured, outage: Outage) -> None:
    report = await measured.outage(outage)
    assert report.unsent_at_its_end > 20, "the outage must hold up work to be meaningful"
    _check(report)


@pytest.mark.long
async def test_a_second_worker_takes_over_from_one_that_stands_still(measured: Measured) -> None:
    await second_worker(measured.stack, STORM)
    report = await measured.outage(Outage("stopped", "worker-b", STOPPED))
    assert 3 < report.slowest < STOPPED, (
        "runs that the frozen worker had wait for Temporal's timeout, not for its return"
    )
    _check(report)


def _check(report: OutageReport) -> None:
    assert (report.lost, report.duplicated, report.unexpected) == (0, 0, 0)
    if max(report.out_after.values()) >= MOST_SECONDS and os.getloadavg()[0] > 2 * (os.cpu_count() or 1):
        pytest.skip("the machine is too crowded to measure")
    assert max(report.out_after.values()) < MOST_SECONDS


@pytest.mark.long
@pytest.mark.usefixtures("clean_environment")
async def test_control_without_a_ledger_a_killed_postgresql_doubles_messages(home: Path) -> None:
    storm = replace(STORM, events=100, delay_ms=300)
    async with measured_stack(home, storm, {**MODULES, "worker": [NAIVE]}) as measured:
        report = await measured.outage(Outage("killed", "postgres", 1.0), storm)
    assert report.duplicated > 0, report.line()
    assert report.lost == 0, report.line()
