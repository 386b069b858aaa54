"""The gate in memory is the gate of the store: whatever is asked, in whatever steps and at whatever times, both say the same.

Two people are the same but for where they live: one in a database, decided by `activities/gate` in its own transactions; the
other in `journeys/simulation/gate.py`, as the simulator and the backtest have them. Messages join, wait for each other, give way (C2, C4, C6),
and some cannot be made.
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
from journeys.decision.effects import SendMessage, message_key
from journeys.decision.state import RunState
from journeys.events.inbound import InboundEvent
from journeys.gate.policy import load_policy
from journeys.gate.status import Status
from journeys.language.parsing import read_journey
from journeys.simulation.gate import InMemoryGate
from journeys.simulation.timeline import MessageOutcome, Scenario, SimulatedRun
from store.database import Database, execute, fetch_all, sql
from store.definitions import publishing
from store.events.ingest import accept
from store.messages import due as owed
from store.messages.entries import LedgerEntry, new_entry
from store.people import subjects
from store.people.identities import find_subjects
from store.runs import projection
from tests.integration.gate.test_gate import journey
from worker.composition.dependencies import dependencies as build_house
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
"""Which run asks, and for which messages."""
Moment = tuple[int, bool, tuple[Step, ...]]
"""Minutes since the last one, whether nobody looked at what fell due meanwhile until then, and the steps at that instant."""
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
OFFER, CANNOT_BE_MADE = ("offers", "lifecycle", SOUND), ("onboarding", "lifecycle", RETIRED)
BOTH_DUE = (
    (360, False, ((0, (OFFER, OFFER)),)),
    (300, False, ((0, (OFFER,)),)),  # waits for its cap, till Wednesday at three
    (2430, False, ((1, (LIFECYCLE,)),)),  # goes at half past twelve, too long before that to wait for company
    (90, False, ((1, (PROMOTIONAL,)),)),  # waits for the cooldown, till half past five
    (220, True, ((0, (("onboarding", "transactional", SOUND),)),)),
)
"""Of two that are due in one pass the first, which matters more, takes the place of the second."""
TWELVE = (750, False, ((0, (LIFECYCLE,) * 12),))
"""In the night: in the morning ten of them come as one."""
NEVER_GOES = (
    (0, False, ((0, (LIFECYCLE,)),)),
    (60, False, ((0, (PROMOTIONAL,)),)),  # waits for the cooldown, till two
    (60, False, ((1, (CANNOT_BE_MADE,)),)),  # matters more and waits for the same
    (240, True, ((0, (CANNOT_BE_MADE, OFFER)),)),
)
"""What cannot be made takes the place of nobody, neither when it waits nor when it would go."""


def message(number: int, topic: str, priority: str, template: str, at: datetime) -> SendMessage:
    return SendMessage("tip", template, ("in_app",), "inside", 1, number, at, priority, topic)


@dataclass
class Twins:
    """Both of them, at one instant."""

    database: Database
    deps: Dependencies
    person: str
    runs: list[projection.Run]
    memory: InMemoryGate
    its: list[SimulatedRun]
    now: datetime = START
    asked: int = 0

    async def until(self, at: datetime, *, late: bool = False) -> None:
        """Whatever falls due by then, pass by pass, on both sides; if `late`, all of it only then."""
        self.now = at if late else self.now
        while (due := await self._due()) is not None and due <= at:
            self.now = max(self.now, due)
            await self._pass(None)
            self.memory.settle_due(self.now)
            await self.same()
        self.now = at

    async def step(self, which: int, messages: tuple[Wanted, ...]) -> None:
        """One step asks for all of these: a pass."""
        made = [message(self.asked + n, *each, self.now) for n, each in enumerate(messages)]
        self.asked += len(made)
        at = self.runs[which]
        entries = [
            new_entry(each, key=message_key(at.id, each, self.person), run=at, step=1,
                             recipient=self.person, now=self.now)
            for each in made
        ]  # fmt: skip
        await self._pass(entries)
        asked = [self.memory.message_in_pass(self.its[which], each, "") for each in made]
        decisions = self.memory.decide(asked, self.now)
        for each in asked:
            self.memory.follow(each, decisions.get(each.request.key), self.now)
        await self.same()

    async def _due(self) -> datetime | None:
        async with self.database.reading() as connection:
            return (await owed.next_message_due(connection, self.person))[0]

    async def _pass(self, entries: list[LedgerEntry] | None) -> None:
        async with self.database.transaction() as connection:
            locked = await subjects.lock_subjects(connection, [self.person])
            gate_pass = evaluation.GatePass(self.deps, connection, locked[self.person], None, self.now)
            due = await owed.due_messages(connection, self.person, self.now) if entries is None else entries
            for entry in due:
                await gate_pass.add(entry)
            await gate_pass.decide()

    async def same(self) -> None:
        """Of every message: gone out and when, waiting until when, or ended; and how many others went along with one."""
        async with self.database.reading() as connection:
            found = await fetch_all(connection, _LEDGER, person=self.person)
        live = {int(_FIRING.findall(item["key"])[0]): item for item in found}
        fates = {fate.message.firing: fate for _, fate in self.memory.timeline if isinstance(fate, MessageOutcome)}
        memory = {number: (_GONE.get(fate.kind, fate.kind), fate.at) for number, fate in fates.items()}
        memory |= {each.message.firing: ("deferred", each.due) for each in self.memory.queue}
        ended = {"withheld", "replaced"}
        assert {n: (_GONE.get(item["status"], item["status"]), item["at"]) for n, item in live.items()} == {
            n: (kind, None if kind in ended else at) for n, (kind, at) in memory.items()
        }
        # Live the one that takes others along is a part of the whole like them; in memory it is the whole.
        parts = {n for n, item in live.items() if item["status"] == "merged"}
        taken_along = {n for n, fate in fates.items() if fate.kind == Status.MERGED}
        assert taken_along <= parts
        assert len(parts) - len(taken_along) == len({live[n]["merged_into"] for n in parts})


_FIRING = re.compile(r"/tip\.(\d+)>")
_GONE = {"merged": "sent", "failed": "withheld"}
_LEDGER = sql(
    """
    SELECT key, status, coalesce(sent_at, due_at) AS at, merged_into FROM messages
    WHERE recipient = :person AND key NOT LIKE 'digest/%'
    """
)
_RUNS = sql("SELECT id FROM runs WHERE lane = :person ORDER BY id")
_INSIDE = sql("UPDATE runs SET state = 'inside', visit = 1 WHERE lane = :person")


class Stage:
    """A database with two journeys, and the same in memory."""

    def __init__(self, runner: asyncio.Runner, database: Database, deps: Dependencies, world: Scenario) -> None:
        self.runner, self.database, self.deps, self.world = runner, database, deps, world
        self.people = 0

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def twins(self) -> Twins:
        """Somebody new, on both sides."""
        self.people += 1
        name = f"p{self.people}"
        calls = [InboundEvent("track", f"{name}-in", "signed_up", user_id=name)]
        await accept(self.database, self.deps.catalogue, calls, source="test")
        async with self.database.transaction() as connection:
            person = (await find_subjects(connection, [("user_id", name)]))["user_id", name][0]
            await execute(connection, _INSIDE, person=person)
            found = [
                await projection.read_run(connection, item["id"])
                for item in await fetch_all(connection, _RUNS, person=person)
            ]
        its = [SimulatedRun(chart, "", 1) for chart in self.world.charts]
        for each in its:
            each.state = RunState(state="inside", visit=1)
        memory = InMemoryGate(self.world)
        memory.recipient.operations.unsendable = {RETIRED: "there is no such template"}
        return Twins(self.database, self.deps, person, found, memory, its)

    async def play(self, moments: tuple[Moment, ...]) -> None:
        twins = await self.twins()
        for minutes, late, steps in moments:
            await twins.until(twins.now + timedelta(minutes=minutes), late=late)
            for step in steps:
                await twins.step(*step)
        await twins.until(twins.now + timedelta(days=20))
        assert not twins.memory.queue


async def staged(database_url: str, catalog: Path) -> tuple[Database, Dependencies, Scenario]:
    database = Database(database_url)
    deps = build_house(Settings(database_url=database_url, catalog=catalog, smtp_url="smtp://127.0.0.1:9"), database)
    charts = []
    for name in NAMES:
        text = journey(name, "in_app")
        parsed, _ = read_journey(text)
        assert parsed is not None
        charts.append(load_chart(artifact_of(parsed, {})))
        await publishing.publish_definition(database, charts[-1], artifact_of(parsed, {}), text, "test")
    return database, deps, Scenario(tuple(charts), load_policy(POLICY))


def test_C4_the_gate_in_memory_says_of_every_message_what_the_gate_of_the_store_says(
    database_url: str, tmp_path: Path
) -> None:
    catalog = tmp_path / "catalog"
    shutil.copytree(ROOT / "catalog", catalog)
    (catalog / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    (catalog / "consent.yaml").unlink(missing_ok=True)  # it speaks of the shipped policy
    with asyncio.Runner() as runner:
        stage = Stage(runner, *runner.run(staged(database_url, catalog)))

        @settings(max_examples=60, suppress_health_check=list(HealthCheck))
        # Two steps at one instant: what one sends takes nothing of the other along.
        @example(moments=((0, False, ((0, (PROMOTIONAL,)), (1, (PROMOTIONAL,)))),))
        # Of one step, the second goes along with the first.
        @example(
            moments=((0, False, ((0, (LIFECYCLE, LIFECYCLE)),)), (60, False, ((1, (PROMOTIONAL,)), (0, (LIFECYCLE,)))))
        )
        @example(moments=BOTH_DUE)
        @example(moments=NEVER_GOES)
        @example(moments=(TWELVE, (60, False, ((1, (LIFECYCLE,)),))))
        @given(moments=st.lists(a_moment, min_size=1, max_size=4).map(tuple))
        def alike(moments: tuple[Moment, ...]) -> None:
            stage.do(stage.play(moments))

        alike()
        runner.run(stage.database.close())
