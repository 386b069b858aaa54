"""Fan-out of an account signal to thousands of runs: `python -m benchmarks.fanout`.

An account has one run of each member (`--members`, 10,000). Measured, in rounds in turn with as many bare workflows that are signalled directly:

- seconds until every member's lane has the account's row, and until every run has decided it;
- the longest time that another person's event waits for its delivery meanwhile;
- the time of a member's timer step with 10 and with 20,000 rows of the account that are kept.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import time
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import structlog
from rich.console import Console

from activities.steps.apply import apply_step
from benchmarks.contenders.long_lived import BareSteady, daily
from benchmarks.contenders.members import AccountLoad, Spent, all_cpu_seconds
from benchmarks.measure import ResultRow, Target, compared, interleaved
from benchmarks.report import conditions, result_table
from benchmarks.stack.rig import Rig
from journeys.protocol.step_outcome import Applied
from journeys.protocol.wire import StepInput
from store.database import execute, fetch_one, sql
from store.rows import loaded
from worker.event_loop import run_until_done

T = TypeVar("T")

CALLS_AT_ONCE = 24
"""Signals in flight to the bare workflows, as the relay has to ours."""
QUIET_SECONDS = 0.5
NOT_CACHED = 10
"""One of so many runs is in its worker's cache: as of 10,000 with the setting's default."""
KEPT = (10, 20_000)
TIMERS = 200
_KEPT = sql(
    """
    INSERT INTO outbox (recipient, seq, kind, name, event_id, at, facts, for_members, delivered_at)
    SELECT i.subject_key, -n, 'signal', 'account_used', 'kept' || n, now(), '{"account": {}}',
      '{"kind": "signal", "definitions": [], "profile": []}', now()
    FROM identities i, generate_series(1, CAST(:count AS int)) AS n WHERE i.value = :account
    """
)
_DAYS_OF = sql(
    """
    SELECT coalesce(max(CAST(r.memory->'variables'->>'days' AS int)), 0) AS n
    FROM runs r JOIN identities i ON i.subject_key = r.lane WHERE i.value = :person
    """
)
_RUN = sql(
    """
    SELECT r.id, r.definition, r.step, r.memory FROM runs r JOIN identities i ON i.subject_key = r.lane
    WHERE i.value = :person
    """
)


async def signal_bare(rig: Rig, bare: BareSteady) -> Spent:
    """Signal each bare workflow, and wait until a sample has taken it and their worker is idle.

    Without the time it takes to notice that. A worker that is given no task for a moment is idle too, hence the sample.
    """
    began, used = time.monotonic(), all_cpu_seconds(rig)
    left = iter(bare.handles)

    async def sender() -> None:
        for handle in left:
            await handle.signal(bare.signal)

    await asyncio.gather(*(sender() for _ in range(CALLS_AT_ONCE)))
    await bare.wait_for_sample()
    await rig.quiet("bare")
    return Spent(time.monotonic() - began - QUIET_SECONDS, all_cpu_seconds(rig) - used)


async def timer_milliseconds(load: AccountLoad) -> list[list[float]]:
    """Milliseconds of timers' steps of one member for each number of `KEPT` rows of their account, in turn."""
    people = [await _member_of(load, kept) for kept in KEPT]
    times: list[list[float]] = [[] for _ in people]
    for _ in range(TIMERS):
        for number, person in enumerate(people):
            times[number].append(await _timer(load, person))
    return times


async def _member_of(load: AccountLoad, kept: int) -> str:
    account, person = f"kept{kept}", f"of-kept{kept}"
    await load.accept(("group", "group", person, account), ("track", "member_began", person, None))
    async with load.rig.database.transaction() as connection:
        await execute(connection, _KEPT, account=account, count=kept)
        await connection.execute("ANALYZE outbox")
    await load.accept(("track", "account_used", None, account))
    await load.until(_DAYS_OF, 1, person=person)
    return person


async def _timer(load: AccountLoad, person: str) -> float:
    async with load.rig.database.reading() as connection:
        run = await fetch_one(connection, _RUN, person=person)
    assert run is not None
    now = datetime.now(UTC).isoformat()
    step = StepInput(run["id"], run["step"] + 1, run["definition"], loaded(run["memory"]), [], [], now, now)
    began = time.perf_counter()
    outcome = await apply_step(load.deps, step)
    assert outcome == Applied()
    return (time.perf_counter() - began) * 1_000


async def measure_fan_out(members: int, rounds: int, console: Console) -> list[ResultRow]:
    """All rows; says in between what it does."""
    async with Rig() as rig:
        load, (_, bare) = AccountLoad(rig, members), daily(rig)
        await rig.start_ours(cached=members // NOT_CACHED)
        await rig.start_bare(cached=members // NOT_CACHED)
        await _timed(console, f"{members} of our runs begun", load.open())
        await _timed(console, f"{members} bare workflows begun", bare.open(members))
        await rig.quiet("bare")
        await rig.quiet("worker")
        ours, theirs = await interleaved(
            rounds,
            lambda: _timed(console, "an account's signal decided by all", load.signal_account()),
            lambda: _timed(console, "bare workflows signalled", signal_bare(rig, bare)),
        )
        few, many = (statistics.median(times) for times in await timer_milliseconds(load))
    fanned = [each.fanned_out for each in load.rounds]
    waited = [each.other_lane for each in load.rounds]
    return [
        _seconds("fanned_out_seconds", fanned, Target(30.0)),
        compared("decided_vs_bare", _clock(ours), _clock(theirs), "s", Target(1.3)),
        compared("decided_cpu_vs_bare", _cpu(ours), _cpu(theirs), "s, all processes"),
        _seconds("other_lane_longest_wait", waited, Target(2.0)),
        ResultRow("timer_at_20000_kept_rows_vs_10", many / few, many / few, many / few, many, few, "ms", Target(1.2)),
    ]


async def _timed(console: Console, what: str, work: Awaitable[T]) -> T:
    """Say how long a part took, since all of it takes minutes."""
    began = time.monotonic()
    result = await work
    console.print(f"{what} in {time.monotonic() - began:.0f} s", style="dim")
    return result


def _clock(rounds: Sequence[Spent]) -> list[float]:
    return [spent.clock for spent in rounds]


def _cpu(rounds: Sequence[Spent]) -> list[float]:
    return [spent.cpu for spent in rounds]


def _seconds(name: str, values: Sequence[float], target: Target) -> ResultRow:
    worst = max(values)
    return ResultRow(name, worst, min(values), worst, worst, None, "s, the longest", target)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fanout", description=__doc__)
    parser.add_argument("--members", type=int, default=10_000, help="members of the account, each with a run")
    parser.add_argument("--rounds", type=int, default=2, help="signals to the account, and to the bare workflows")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    console = Console()
    rows = run_until_done(measure_fan_out(options.members, options.rounds, console), fast=True)
    console.print(result_table(rows))
    console.print(conditions("sqlite"), style="dim")


if __name__ == "__main__":
    main()
