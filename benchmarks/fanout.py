"""Fan-out of an account's signal to thousands of runs: `python -m benchmarks.fanout`.

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
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from rich.console import Console

from activities.steps.apply import apply_step
from benchmarks.contenders.long_lived import BareSteady, daily
from benchmarks.measure import ResultRow, Target, compared, interleaved
from benchmarks.report import conditions, result_table
from benchmarks.stack.rig import Rig
from journeys.decision.compiler import artifact_of, load_chart
from journeys.events.inbound import CallKind, InboundEvent
from journeys.language.parsing import read_journey
from journeys.protocol.step_outcome import Applied
from journeys.protocol.wire import StepInput
from store.database import execute, fetch_one, sql
from store.definitions import publishing
from store.events import ingest
from store.rows import loaded
from worker.composition.dependencies import dependencies
from worker.event_loop import run_until_done

BATCH = 200
CALLS_AT_ONCE = 24
"""Signals in flight to the bare workflows, as the relay has to ours."""
PROBE_SECONDS = 0.25
QUIET_SECONDS = 0.5
KEPT = (10, 20_000)
TIMERS = 200
JOURNEY = """
journey: member
entry: {on: member_began, again: never}
topic: onboarding
variables: {days: int}
start: living
states:
  living:
    on: {account_used: {do: [{set: {days: "known.journey.days ? journey.days + 1 : 1"}}]}}
    after: {P365D: over}
  over: {final: ended}
"""
_BEHIND = sql("SELECT count(*) AS n FROM subjects WHERE behind_since IS NOT NULL")
_DECIDED = sql(
    "SELECT count(*) AS n FROM runs WHERE journey = 'member' AND CAST(memory->'variables'->>'days' AS int) >= :days"
)
_BEGUN = sql("SELECT count(*) AS n FROM runs WHERE journey = 'member' AND step > 0")
_WAITED = sql(
    """
    SELECT coalesce(extract(epoch FROM max(coalesce(o.delivered_at, clock_timestamp()) - o.created_at)), 0) AS n
    FROM outbox o JOIN identities i ON i.subject_key = o.recipient WHERE i.value = 'other' AND o.created_at > :since
    """
)
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
    "SELECT r.id, r.definition, r.step, r.memory FROM runs r JOIN identities i ON i.subject_key = r.lane WHERE i.value = :person"
)


@dataclass(frozen=True, slots=True)
class FanOutRound:
    """Seconds of one round."""

    fanned_out: float
    decided: float
    other_lane: float


@dataclass
class AccountLoad:
    """An account with its members, and somebody who has nothing to do with it."""

    rig: Rig
    members: int
    rounds: list[FanOutRound] = field(default_factory=list)
    sent: int = 0

    def __post_init__(self) -> None:
        self.deps = dependencies(self.rig.settings, self.rig.database)

    async def accept(self, *calls: tuple[CallKind, str, str | None, str | None]) -> None:
        """Accept calls, each given by kind, name, user and account."""
        events = []
        for kind, name, user, account in calls:
            self.sent += 1
            events.append(InboundEvent(kind, f"f{self.sent}", name, user_id=user, account_id=account))
        await ingest.accept(self.rig.database, self.deps.catalogue, events, source="benchmark")

    async def open(self) -> None:
        """Publish the journey and begin every member's run, and the other person's."""
        journey, source = read_journey(JOURNEY)
        assert journey is not None, source.problems
        text = artifact_of(journey, {})
        await publishing.publish_definition(self.rig.database, load_chart(text), text, JOURNEY, "benchmarks")
        people = [f"member{n}" for n in range(self.members)]
        for start in range(0, self.members, BATCH):
            batch = people[start : start + BATCH]
            await self.accept(*(("group", "group", person, "account") for person in batch))
            await self.accept(*(("track", "member_began", person, None) for person in batch))
        await self.accept(("track", "member_began", "other", None))
        await self.until(_BEGUN, self.members + 1)

    async def signal_account(self) -> float:
        """One signal to the account: seconds until every member's run has decided it."""
        since, began, over = datetime.now(UTC), time.monotonic(), asyncio.Event()
        probing = asyncio.create_task(self._probe(over))
        await self.accept(("track", "account_used", None, "account"))
        fanning = asyncio.create_task(self.until(_BEHIND, 0, exactly=True))
        fanning.add_done_callback(lambda _: fanned.append(time.monotonic() - began))
        fanned: list[float] = []
        await self.until(_DECIDED, self.members, days=len(self.rounds) + 1)
        decided = time.monotonic() - began
        await fanning
        over.set()
        await probing
        self.rounds.append(FanOutRound(fanned[0], decided, await self._number(_WAITED, since=since)))
        return decided

    async def _probe(self, over: asyncio.Event) -> None:
        """Send an event of the other person every now and then."""
        while not over.is_set():
            await self.accept(("track", "account_used", "other", None))
            await asyncio.sleep(PROBE_SECONDS)

    async def until(self, statement: Any, count: int, *, exactly: bool = False, **values: Any) -> None:
        """Until a query's number is at least `count`, or exactly that."""
        while True:
            number = await self._number(statement, **values)
            if number == count or (number > count and not exactly):
                return
            await asyncio.sleep(0.1)

    async def _number(self, statement: Any, **values: Any) -> float:
        async with self.rig.database.reading() as connection:
            row = await fetch_one(connection, statement, **values)
        return float(row["n"]) if row is not None else 0.0


async def signal_bare(rig: Rig, bare: BareSteady) -> float:
    """One signal to each bare workflow: seconds until their worker is idle, without the time it takes to notice that."""
    began = time.monotonic()
    left = iter(bare.handles)

    async def sender() -> None:
        for handle in left:
            await handle.signal(bare.signal)

    await asyncio.gather(*(sender() for _ in range(CALLS_AT_ONCE)))
    await rig.quiet("bare")
    return time.monotonic() - began - QUIET_SECONDS


async def timer_milliseconds(load: AccountLoad, kept: int) -> list[float]:
    """Milliseconds of each of some timers' steps of a member whose account keeps so many rows; nothing else runs beside."""
    account, person = f"kept{kept}", f"of-kept{kept}"
    await load.accept(("group", "group", person, account), ("track", "member_began", person, None))
    async with load.rig.database.transaction() as connection:
        await execute(connection, _KEPT, account=account, count=kept)
        await connection.execute("ANALYZE outbox")
    await load.accept(("track", "account_used", None, account))
    await load.until(_DAYS_OF, 1, person=person)
    times = []
    for _ in range(TIMERS):
        async with load.rig.database.reading() as connection:
            run = await fetch_one(connection, _RUN, person=person)
        assert run is not None
        now = datetime.now(UTC).isoformat()
        step = StepInput(run["id"], run["step"] + 1, run["definition"], loaded(run["memory"]), [], [], now, now)
        began = time.perf_counter()
        outcome = await apply_step(load.deps, step)
        times.append((time.perf_counter() - began) * 1_000)
        assert outcome == Applied()
    return times


async def measure_fan_out(members: int, rounds: int, console: Console) -> list[ResultRow]:
    """All rows; says in between what it does."""
    async with Rig() as rig:
        load, (_, bare) = AccountLoad(rig, members), daily(rig)
        began = time.monotonic()
        await load.open()
        await bare.open(members)
        await rig.quiet("bare")
        await rig.quiet("worker")
        console.print(f"{members} runs on each side begun in {time.monotonic() - began:.0f} s", style="dim")
        ours, theirs = await interleaved(rounds, load.signal_account, lambda: signal_bare(rig, bare))
        timers = [await timer_milliseconds(load, kept) for kept in KEPT]
    fanned = [each.fanned_out for each in load.rounds]
    waited = [each.other_lane for each in load.rounds]
    few, many = (statistics.median(times) for times in timers)
    return [
        _seconds("fanned_out_seconds", fanned, Target(30.0)),
        compared("decided_vs_bare", ours, theirs, "s", Target(1.3)),
        _seconds("other_lane_longest_wait", waited, Target(2.0)),
        ResultRow("timer_at_20000_kept_rows_vs_10", many / few, many / few, many / few, many, few, "ms", Target(1.2)),
    ]


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
    console.print(conditions(), style="dim")


if __name__ == "__main__":
    main()
