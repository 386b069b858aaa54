"""Burst of sign-ups beside others' messages: `python -m benchmarks.burst`.

As many people as `--people`, 2,500, sign up in one batch, and each gets a lifecycle mail. Meanwhile others cause messages, one
after another for each priority. Measured are the seconds from an event to the receipt by the mail server:

- `urgent_delay`, `transactional_delay`: how much longer that takes, at the most, than without the burst; the target is two seconds;
- `lifecycle_delay`: the same for messages of the burst's own priority, for comparison.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

import structlog
from rich.console import Console

from benchmarks.contenders.load import Ours, address
from benchmarks.measure import ResultRow, Target, quantile
from benchmarks.report import conditions, result_table
from benchmarks.stack.rig import Rig
from journeys.decision.compiler import artifact_of, load_chart
from journeys.events.inbound import InboundEvent
from journeys.language.parsing import read_journey
from store.database import SqlStatement, fetch_one, sql
from store.definitions import publishing
from store.events import ingest
from worker.composition.dependencies import dependencies
from worker.event_loop import run_until_done

PRIORITIES: Final[Mapping[str, str]] = {
    "urgent": "urgent_support",
    "transactional": "transactional",
    "lifecycle": "lifecycle",
}
TARGET: Final = Target(2.0)
QUIET_ROUNDS: Final = 10
BETWEEN_SECONDS: Final = 0.5
MAIL_SECONDS: Final = 600.0
OTHERS: Final = 200
"""People of each priority beside the burst: each causes one message."""
JOURNEY: Final = """
journey: other-{name}
entry: {{on: {name}_begun, again: never}}
topic: onboarding
priority: {priority}
start: waiting
states:
  waiting: {{on: {{{name}_wanted: informed}}, after: {{P30D: over}}}}
  informed: {{do: [{{send: setup/checklist, via: [email]}}], after: {{P30D: over}}}}
  over: {{final: ended}}
"""
_UNDECIDED = sql("SELECT count(*) AS n FROM runs WHERE step = 0")
_SENT = sql("SELECT count(*) AS n FROM messages WHERE journey = 'three-mails' AND status = 'sent'")


class Others:
    """People with a waiting run of one priority, who cause a message each."""

    def __init__(self, burst: Burst, name: str) -> None:
        self.burst, self.name = burst, name

    async def open(self) -> None:
        """Open their runs. They wait for the event that causes the message."""
        self.people = await self.burst.side.people(OTHERS)
        self.left = iter(self.people)
        await self.burst.accept(f"{self.name}_begun", self.people)

    async def wait_for_mail(self) -> float:
        """Seconds from the next person's event to the receipt of their mail."""
        person = next(self.left)
        began = time.monotonic()
        await self.burst.accept(f"{self.name}_wanted", [person])
        return await self.burst.rig.receipts.next(address(person), MAIL_SECONDS) - began

    async def until(self, over: asyncio.Event) -> list[float]:
        """Their waits, one after another, until the burst is over."""
        waits = []
        while not over.is_set():
            waits.append(await self.wait_for_mail())
            await asyncio.sleep(BETWEEN_SECONDS)
        return waits


class Burst:
    """Sign-ups in one batch, and the others beside them."""

    def __init__(self, rig: Rig, people: int) -> None:
        self.rig, self.people = rig, people
        self.deps = dependencies(rig.settings, rig.database)
        self.side = Ours(rig)
        self.others = {name: Others(self, name) for name in PRIORITIES}
        self.accepted = 0

    async def accept(self, name: str, people: Sequence[str]) -> None:
        """Accept an event of each person, all in one batch."""
        events = []
        for person in people:
            self.accepted += 1
            events.append(InboundEvent("track", f"burst{self.accepted}", name, user_id=person))
        await ingest.accept(self.rig.database, self.deps.catalogue, events, source="benchmark")

    async def open(self) -> None:
        """Publish the others' journeys and begin their runs."""
        for name, priority in PRIORITIES.items():
            written = JOURNEY.format(name=name, priority=priority)
            journey, source = read_journey(written)
            assert journey is not None, source.problems
            text = artifact_of(journey, {})
            await publishing.publish_definition(self.rig.database, load_chart(text), text, written, "benchmarks")
        for others in self.others.values():
            await others.open()
        while await self._number(_UNDECIDED):
            await asyncio.sleep(0.1)

    async def quiet(self) -> dict[str, list[float]]:
        """Waits of the others before the burst, by priority."""
        return {
            name: [await others.wait_for_mail() for _ in range(QUIET_ROUNDS)] for name, others in self.others.items()
        }

    async def burst(self) -> tuple[dict[str, list[float]], float]:
        """Waits of the others during the burst, by priority; seconds until its last mail."""
        people = await self.side.people(self.people)
        over, began = asyncio.Event(), time.monotonic()
        await self.accept("signed_up", people)
        waiting = [asyncio.create_task(others.until(over)) for others in self.others.values()]
        while await self._number(_SENT) < self.people:
            await asyncio.sleep(0.5)
        spent = time.monotonic() - began
        over.set()
        return dict(zip(self.others, await asyncio.gather(*waiting), strict=True)), spent

    async def _number(self, statement: SqlStatement) -> int:
        async with self.rig.database.reading() as connection:
            row = await fetch_one(connection, statement)
        return int(row["n"]) if row is not None else 0


async def measure_burst(people: int, console: Console) -> list[ResultRow]:
    """A row for each priority; says in between how long the burst took."""
    async with Rig() as rig:
        burst = Burst(rig, people)
        await burst.open()
        quiet = await burst.quiet()
        beside, spent = await burst.burst()
    console.print(f"{people} mails of the burst in {spent:.0f} s; others beside it: {_waits(beside)}", style="dim")
    return [_row(name, quiet[name], beside[name]) for name in PRIORITIES]


def _waits(waits: Mapping[str, Sequence[float]]) -> str:
    """How many there were, with the median and the 95th percentile of their waits."""
    shares = [
        f"{len(seconds)} {name} (p50 {median(seconds):.2f} s, p95 {quantile(seconds, 0.95):.2f} s)"
        for name, seconds in waits.items()
    ]
    return ", ".join(shares)


def _row(name: str, quiet: Sequence[float], beside: Sequence[float]) -> ResultRow:
    usual = median(quiet)
    target = None if name == "lifecycle" else TARGET
    delays = [wait - usual for wait in beside]
    return ResultRow(
        f"{name}_delay", max(delays), min(delays), max(delays), max(beside), usual, "s, the longest; quiet", target
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.burst", description=__doc__)
    parser.add_argument("--people", type=int, default=2_500, help="people who sign up in one batch")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    console = Console()
    rows = run_until_done(measure_burst(options.people, console), fast=True)
    console.print(result_table(rows))
    console.print(conditions("sqlite"), style="dim")


if __name__ == "__main__":
    main()
