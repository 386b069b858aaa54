"""Random kills and stops of all processes: every accepted event sends its message once, and nothing else is sent.

`TENURE_STORM_SEED=7` repeats a storm's clients and faults; `python -m benchmarks.chaos` is the long form.
"""

from __future__ import annotations

import os
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.storm.plan import Storm
from tests.storm.run import NAIVE, Report, run_storm

SEED = int(os.environ.get("TENURE_STORM_SEED") or random.SystemRandom().randrange(10_000))
CONTROL = Storm(
    SEED,
    events=200,
    users=100,
    faults=6,
    seconds=8.0,
    weights={"worker": 1, "worker-b": 1},
    fail_rate=0.0,
    drop_rate=0.0,
    delay_ms=200,
    worker=NAIVE,
)
"""Only workers are killed, and no mail is refused or loses its answer: every double is caused by a kill."""

SKEWED = Storm(SEED, events=200, users=30, faults=12, seconds=15.0, timed=True)

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.usefixtures("clean_environment")]


def print_report(report: Report) -> Report:
    """Print the report as one line, also when the test passes."""
    sys.stderr.write(f"\n{report.line()}\n")
    return report


async def test_no_message_is_lost_or_doubled_when_processes_are_killed_and_stopped_at_random(home: Path) -> None:
    crowded = os.getloadavg()[0] > 2 * (os.cpu_count() or 1)
    report = print_report(await run_storm(Storm(SEED), home))
    assert sum(report.faults.values()) >= 45
    assert report.acknowledged >= 900, "the storm must accept events to be meaningful"
    assert crowded or report.seconds <= 120, "two minutes, unless others use this machine"
    assert report.passed, report.line()


async def test_control_without_a_ledger_the_same_kills_double_messages(home: Path) -> None:
    report = print_report(await run_storm(CONTROL, home))
    assert report.duplicated > 0, report.line()
    assert report.lost == 0, report.line()


@pytest.mark.parametrize(
    "ahead", [pytest.param(10.0, id="ahead"), pytest.param(-10.0, id="behind", marks=pytest.mark.long)]
)
async def test_A6_kills_lose_and_double_nothing_when_all_clocks_are_ten_seconds_wrong(home: Path, ahead: float) -> None:
    """API and worker are wrong by ten seconds, the second worker by as much the other way; runs have timers."""
    report = print_report(await run_storm(replace(SKEWED, ahead=ahead), home))
    assert report.acknowledged >= 180, "the storm must accept events to be meaningful"
    assert report.passed, report.line()


@pytest.mark.long
async def test_A6_control_workers_that_do_not_correct_their_clocks_decide_out_of_order(home: Path) -> None:
    storm = replace(SKEWED, events=60, faults=1, seconds=5.0, ahead=10.0, worker="tests.storm.uncorrected_worker")
    report = print_report(await run_storm(storm, home))
    assert report.out_of_order > 0, report.line()
