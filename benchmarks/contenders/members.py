"""Account whose members have a run each, and one other person beside it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from benchmarks.stack.rig import Rig
from journeys.decision.compiler import artifact_of, load_chart
from journeys.events.inbound import CallKind, InboundEvent
from journeys.language.parsing import read_journey
from store.database import SqlStatement, fetch_one, sql
from store.definitions import publishing
from store.events import ingest
from worker.composition.dependencies import dependencies

BATCH = 200
PROBE_SECONDS = 0.25
LEAST_PAUSE = 0.1
PAUSE_SHARE = 0.02
"""Pause between two questions: a share of the time so far, which is the most that a round seems to last longer."""
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
_BEGUN = sql("SELECT count(*) AS n FROM runs WHERE journey = 'member' AND step > 0")
_DECIDED = sql(
    "SELECT count(*) AS n FROM runs WHERE journey = 'member' AND CAST(memory->'variables'->>'days' AS int) >= :days"
)
_WAITED = sql(
    """
    SELECT coalesce(extract(epoch FROM max(coalesce(o.delivered_at, clock_timestamp()) - o.created_at)), 0) AS n
    FROM outbox o JOIN identities i ON i.subject_key = o.recipient WHERE i.value = 'other' AND o.created_at > :since
    """
)


class Spent(NamedTuple):
    """Seconds of the clock, and of CPU of all processes."""

    clock: float
    cpu: float


@dataclass(frozen=True, slots=True)
class FanOutRound:
    """Seconds until every lane had its copy, and of the longest wait of the other person's event meanwhile."""

    fanned_out: float
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

    async def signal_account(self) -> Spent:
        """Signal the account, and wait until every member's run has decided it."""
        since, began, used, over = datetime.now(UTC), time.monotonic(), all_cpu_seconds(self.rig), asyncio.Event()
        probing = asyncio.create_task(self._probe(over))
        await self.accept(("track", "account_used", None, "account"))
        fanning = asyncio.create_task(self._fanned_out(began))
        await self.until(_DECIDED, self.members, days=len(self.rounds) + 1)
        spent = Spent(time.monotonic() - began, all_cpu_seconds(self.rig) - used)
        over.set()
        await probing
        self.rounds.append(FanOutRound(await fanning, await self._number(_WAITED, since=since)))
        return spent

    async def until(self, statement: SqlStatement, count: int, *, exactly: bool = False, **values: Any) -> None:
        """Until a query's number is at least `count`, or exactly that."""
        began = time.monotonic()
        while True:
            number = await self._number(statement, **values)
            if number == count or (number > count and not exactly):
                return
            # Counting thousands of runs costs PostgreSQL some time of what is measured.
            await asyncio.sleep(max(LEAST_PAUSE, PAUSE_SHARE * (time.monotonic() - began)))

    async def _fanned_out(self, began: float) -> float:
        await self.until(_BEHIND, 0, exactly=True)
        return time.monotonic() - began

    async def _probe(self, over: asyncio.Event) -> None:
        """Send an event of the other person every now and then."""
        while not over.is_set():
            await self.accept(("track", "account_used", "other", None))
            await asyncio.sleep(PROBE_SECONDS)

    async def _number(self, statement: SqlStatement, **values: Any) -> float:
        async with self.rig.database.reading() as connection:
            row = await fetch_one(connection, statement, **values)
        return float(row["n"]) if row is not None else 0.0


def all_cpu_seconds(rig: Rig) -> float:
    """CPU time so far of every process, and of this one, which sends."""
    return rig.all_cpu_seconds() + time.process_time()
