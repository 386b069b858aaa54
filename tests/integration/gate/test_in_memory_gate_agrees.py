"""The in-memory gate decides as the gate on PostgreSQL, for any requests, steps and times.

One person is in a database, decided by `activities/gate` in its own transactions; the other in `journeys/simulation/gate.py`, as
in the simulator and the backtest. Messages are merged, deferred and replaced (C2, C4, C6), and some cannot be rendered.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from activities.dependencies import Dependencies
from activities.gate import evaluation
from journeys.decision.compiler import artifact_of, load_chart
from journeys.decision.draft import RunDraft
from journeys.decision.effects import SendMessage, message_key
from journeys.decision.state import RunState
from journeys.events.inbound import InboundEvent
from journeys.gate.policy import load_policy
from journeys.language.parsing import read_journey
from journeys.simulation.gate import InMemoryGate, settle_passes
from journeys.simulation.subjects import SimulatedRun
from journeys.simulation.timeline import MessageOutcome, Scenario
from journeys.simulation.world import World
from store.database import Database, execute, fetch_all, sql
from store.definitions import publishing
from store.events.ingest import accept
from store.messages import due as messages_due
from store.messages.entries import LedgerEntry, new_entry
from store.people import subjects
from store.people.identities import find_subjects
from store.rows import loaded
from store.runs import projection
from tests.integration.gate.test_gate import journey
from worker.composition.dependencies import dependencies as build_dependencies
from worker.settings import ROOT, Settings

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
NAMES = ("first", "second")
POLICY = {
    "timezone": "UTC",
    "consent": [{"default": "granted"}],
    "caps": [
        {"name": "a-day", "limit": 3, "window": "P1D"},
        {"name": "offers-in-two-days", "topic": "offers", "limit": 2, "window": "P2D"},
        {"name": "of-the-second-a-day", "journey": "second", "limit": 2, "window": "P1D"},
    ],
    "cooldowns": [{"name": "breath", "between": "PT5H"}],
    "quiet_hours": [{"name": "night", "start": "21:00", "end": "08:00"}],
    "consolidate": [{"name": "one", "channel": "in_app", "priorities": ["lifecycle", "promotional"], "window": "PT2H"}],
    "expires_after": "P5D",
}
SOUND, RETIRED = "education/first-value", "no/such-template"
Wanted = tuple[str, str, str]
"""Topic, priority and template of a message."""
Step = tuple[int, tuple[Wanted, ...]]
"""Which run requests messages, and which."""
Moment = tuple[int, bool, tuple[Step, ...]]
"""Minutes since the last one, whether what fell due meanwhile is settled only then, and the steps at that instant."""
T = TypeVar("T")

a_message = st.tuples(
    st.sampled_from(["onboarding", "offers"]),
    st.sampled_from(["lifecycle", "lifecycle", "promotional", "promotional", "transactional"]),
    st.sampled_from([SOUND, SOUND, SOUND, SOUND, RETIRED]),
)
a_step = st.tuples(st.integers(0, 1), st.lists(a_message, min_size=1, max_size=3).map(tuple))
a_moment = st.tuples(
    st.sampled_from([0, 10, 60, 120, 180, 240, 600, 1440]),
    st.booleans(),
    st.lists(a_step, min_size=1, max_size=3).map(tuple),
)
LIFECYCLE, PROMOTIONAL = ("onboarding", "lifecycle", SOUND), ("onboarding", "promotional", SOUND)
OFFER, UNRENDERABLE = ("offers", "lifecycle", SOUND), ("onboarding", "lifecycle", RETIRED)
BOTH_DUE = (
    (360, False, ((0, (OFFER, OFFER)),)),
    (300, False, ((0, (OFFER,)),)),  # waits for its cap, until Wednesday at three
    (2430, False, ((1, (LIFECYCLE,)),)),  # is sent at half past twelve, too long before the other to be merged with it
    (90, False, ((1, (PROMOTIONAL,)),)),  # waits for the cooldown, until half past five
    (220, True, ((0, (("onboarding", "transactional", SOUND),)),)),
)
"""Of two messages due in one pass the first, of higher priority, replaces the second."""
TWELVE = (750, False, ((0, (LIFECYCLE,) * 12),))
"""In the night: in the morning ten of them become a digest."""
NEVER_GOES = (
    (0, False, ((0, (LIFECYCLE,)),)),
    (60, False, ((0, (PROMOTIONAL,)),)),  # waits for the cooldown, until two
    (60, False, ((1, (UNRENDERABLE,)),)),  # has a higher priority and waits for the same
    (240, True, ((0, (UNRENDERABLE, OFFER)),)),
)
"""A message that cannot be rendered replaces none, neither while it waits nor when it is due."""


def message(number: int, topic: str, priority: str, template: str, at: datetime) -> SendMessage:
    return SendMessage("tip", template, ("in_app",), "inside", 1, number, at, priority, topic)


@dataclass
class Twins:
    """The person in the database and the one in memory, at one instant."""

    database: Database
    deps: Dependencies
    person: str
    runs: list[projection.Run]
    world: World
    memory: InMemoryGate
    simulated_runs: list[SimulatedRun]
    now: datetime = START
    asked: int = 0

    async def until(self, at: datetime, *, late: bool = False) -> None:
        """Settle on both sides what falls due by `at`, pass by pass; if `late`, all of it only then."""
        self.now = at if late else self.now
        while (due := await self._due()) is not None and due <= at:
            self.now = max(self.now, due)
            await self._pass(None)
            self.memory.settle_due(self.now)
            await self.assert_same()
        self.now = at

    async def step(self, which: int, messages: tuple[Wanted, ...]) -> None:
        """One step requests all of these messages in one pass."""
        made = [message(self.asked + n, *wanted, self.now) for n, wanted in enumerate(messages)]
        self.asked += len(made)
        at = self.runs[which]
        entries = [
            new_entry(effect, key=message_key(at.id, effect, self.person), run=at, step=1,
                             recipient=self.person, now=self.now)
            for effect in made
        ]  # fmt: skip
        await self._pass(entries)
        asked = [self.memory.message_in_pass(self.simulated_runs[which], effect) for effect in made]
        settle_passes([(self.memory, asked)], asked, self.now)
        await self.assert_same()

    async def _due(self) -> datetime | None:
        async with self.database.reading() as connection:
            return (await messages_due.next_message_due(connection, self.person))[0]

    async def _pass(self, entries: list[LedgerEntry] | None) -> None:
        async with self.database.transaction() as connection:
            locked = await subjects.lock_subjects(connection, [self.person])
            gate_pass = evaluation.GatePass(self.deps, connection, locked[self.person], None, self.now)
            due = await messages_due.due_messages(connection, self.person, self.now) if entries is None else entries
            for entry in due:
                await gate_pass.add(entry)
            await gate_pass.decide()

    async def assert_same(self) -> None:
        """Both sides agree on each message: sent and when, deferred until when, or ended; and on the merged ones."""
        async with self.database.reading() as connection:
            rows = await fetch_all(connection, _LEDGER, person=self.person)
        on_postgres = {int(_FIRING.findall(item["key"])[0]): item for item in rows}
        outcomes = {
            outcome.message.firing: outcome for _, outcome in self.world.timeline if isinstance(outcome, MessageOutcome)
        }
        in_memory = {number: (outcome.kind.value, outcome.at) for number, outcome in outcomes.items()}
        in_memory |= {queued.message.firing: ("deferred", queued.due) for queued in self.memory.queue}
        assert {n: (item["status"], item["at"]) for n, item in on_postgres.items()} == {
            n: (kind, None if kind in ENDED else at) for n, (kind, at) in in_memory.items()
        }
        codes = {n: tuple(reason["code"] for reason in loaded(item["reasons"])) for n, item in on_postgres.items()}
        assert codes == {n: tuple(reason.code for reason in outcome.reasons) for n, outcome in outcomes.items()}


_FIRING = re.compile(r"/tip\.(\d+)>")
ENDED = {"withheld", "replaced", "failed"}
_LEDGER = sql(
    """
    SELECT key, status, coalesce(sent_at, due_at) AS at, reasons FROM messages
    WHERE recipient = :person AND key NOT LIKE 'digest/%'
    """
)
_RUNS = sql("SELECT id FROM runs WHERE lane = :person ORDER BY id")
_INSIDE = sql("UPDATE runs SET state = 'inside', visit = 1 WHERE lane = :person")


class Comparison:
    """Two journeys in a database and the same in memory."""

    def __init__(self, runner: asyncio.Runner, database: Database, deps: Dependencies, world: Scenario) -> None:
        self.runner, self.database, self.deps, self.scenario = runner, database, deps, world
        self.people = 0

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def twins(self) -> Twins:
        """A new person on both sides."""
        self.people += 1
        name = f"p{self.people}"
        calls = [InboundEvent("track", f"{name}-in", "signed_up", user_id=name)]
        await accept(self.database, self.deps.catalogue, calls, source="test")
        async with self.database.transaction() as connection:
            person = (await find_subjects(connection, [("user_id", name)]))["user_id", name][0]
            await execute(connection, _INSIDE, person=person)
            runs = [
                await projection.read_run(connection, item["id"])
                for item in await fetch_all(connection, _RUNS, person=person)
            ]
        world = World(self.scenario)
        world.operations.unsendable = {RETIRED: "there is no such template"}
        simulated = world.subjects.user(name).subject
        simulated_runs = [SimulatedRun(chart, "", 1, simulated) for chart in self.scenario.charts]
        for simulated_run in simulated_runs:
            simulated_run.draft = RunDraft(simulated_run.chart, RunState(state="inside", visit=1))
        return Twins(self.database, self.deps, person, runs, world, world.gate_of(simulated), simulated_runs)

    async def play(self, moments: tuple[Moment, ...]) -> None:
        twins = await self.twins()
        for minutes, late, steps in moments:
            await twins.until(twins.now + timedelta(minutes=minutes), late=late)
            for step in steps:
                await twins.step(*step)
        await twins.until(twins.now + timedelta(days=20))
        assert not twins.memory.queue


async def prepare(database_url: str, catalog: Path) -> tuple[Database, Dependencies, Scenario]:
    database = Database(database_url)
    deps = build_dependencies(
        Settings(database_url=database_url, catalog=catalog, smtp_url="smtp://127.0.0.1:9"), database
    )
    charts = []
    for name in NAMES:
        text = journey(name, "in_app")
        parsed, _ = read_journey(text)
        assert parsed is not None
        charts.append(load_chart(artifact_of(parsed, {})))
        await publishing.publish_definition(database, charts[-1], artifact_of(parsed, {}), text, "test")
    return database, deps, Scenario(tuple(charts), load_policy(POLICY))


def test_C4_the_in_memory_gate_decides_every_message_as_the_gate_on_postgres_does(
    database_url: str, tmp_path: Path
) -> None:
    catalog = tmp_path / "catalog"
    shutil.copytree(ROOT / "catalog", catalog)
    (catalog / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    (catalog / "consent.yaml").unlink(missing_ok=True)  # it belongs to the shipped policy
    with asyncio.Runner() as runner:
        comparison = Comparison(runner, *runner.run(prepare(database_url, catalog)))

        @settings(max_examples=60, suppress_health_check=list(HealthCheck))
        # Two steps at one instant: messages of different steps are not merged.
        @example(moments=((0, False, ((0, (PROMOTIONAL,)), (1, (PROMOTIONAL,)))),))
        # Of one step, the second message is merged with the first.
        @example(
            moments=((0, False, ((0, (LIFECYCLE, LIFECYCLE)),)), (60, False, ((1, (PROMOTIONAL,)), (0, (LIFECYCLE,)))))
        )
        @example(moments=BOTH_DUE)
        @example(moments=NEVER_GOES)
        @example(moments=(TWELVE, (60, False, ((1, (LIFECYCLE,)),))))
        @given(moments=st.lists(a_moment, min_size=1, max_size=4).map(tuple))
        def alike(moments: tuple[Moment, ...]) -> None:
            comparison.do(comparison.play(moments))

        alike()
        runner.run(comparison.database.close())
