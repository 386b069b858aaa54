"""The gate against a model: any interleaving of requests, opt-outs, tickets, milestones, time and crashes.

The machine drives the real transaction on a real database. The model is a list of what happened; it checks the ledger
afterwards and uses neither `judge` nor the statements.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from activities.dependencies import Dependencies
from activities.gate import evaluation
from journeys.consent.changes import ConsentChange
from journeys.decision.compiler import artifact_of, load_chart
from journeys.decision.effects import SendMessage, WithdrawnMessages, message_key
from journeys.events.inbound import InboundEvent
from journeys.language.parsing import read_journey
from store.database import Database, execute, fetch_all, sql
from store.definitions import publishing
from store.events import tickets
from store.events.changes import change_consents
from store.events.ingest import accept
from store.messages import due as messages_due
from store.messages.entries import LedgerEntry, new_entry
from store.messages.withdrawals import withdraw_queued
from store.people import subjects
from store.people.identities import find_subjects
from store.runs import projection
from tests.integration.gate.test_gate import journey
from tests.support.transitions import transitions_outside_table
from worker.composition.dependencies import dependencies as build_dependencies
from worker.settings import ROOT, Settings

ZONE = ZoneInfo("America/St_Johns")
START = datetime(2026, 3, 6, 15, 0, tzinfo=UTC)  # two days before the start of daylight saving time there
CAP, COOLDOWN, QUIET = 2, timedelta(hours=1), (22, 7)
POLICY = {
    "timezone": ZONE.key,
    "consent": [{"default": "granted"}],
    "caps": [{"name": "a-day", "limit": CAP, "window": "P1D"}],
    "cooldowns": [{"name": "breath", "between": "PT1H"}],
    "quiet_hours": [{"name": "night", "start": "22:00", "end": "07:00"}],
    "consolidate": [{"name": "one", "channel": "in_app", "window": "PT2H"}],
    "expires_after": "P3D",
}
JOURNEYS = ("first", "second", "third")
TOPICS = ("onboarding", "offers")
INSTANT = timedelta(seconds=1)
"""The time between a send before a change and one after it."""
CALM = {"lifecycle", "promotional"}
_CLOSE = sql("UPDATE runs SET state = 'over', visit = 2 WHERE id = :id")
_LEDGER = sql("SELECT * FROM messages WHERE recipient = :person ORDER BY id")
_INBOX = sql("SELECT key FROM inbox WHERE recipient = :person")
_RUNS = sql("SELECT id, lane FROM runs WHERE lane = :person ORDER BY id")

T = TypeVar("T")


class Crash(Exception):
    """The worker crashes before its commit."""


@dataclass
class Model:
    """The state of the model: when topics were refused, when a ticket was open, when runs were over."""

    now: datetime = START
    refused: dict[str, list[tuple[datetime, datetime | None]]] = field(default_factory=dict)
    urgent: list[tuple[datetime, datetime | None]] = field(default_factory=list)
    over: dict[str, datetime] = field(default_factory=dict)
    asked: list[tuple[str, SendMessage]] = field(default_factory=list)


def inside(spans: list[tuple[datetime, datetime | None]], at: datetime) -> bool:
    return any(begin <= at and (end is None or at < end) for begin, end in spans)


class GateMachine(RuleBasedStateMachine):
    """One person, three runs, one clock."""

    database: Database
    deps: Dependencies
    runner: asyncio.Runner

    @initialize()
    def begin(self) -> None:
        self.model = Model()
        self.person, self.runs = self.do(self._person())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def _person(self) -> tuple[str, list[projection.Run]]:
        name = f"p{id(self)}-{datetime.now(UTC).timestamp()}"
        calls = [InboundEvent("track", f"{name}-in", "signed_up", user_id=name)]
        await accept(self.database, self.deps.catalogue, calls, source="test")
        async with self.database.transaction() as connection:
            known = await find_subjects(connection, [("user_id", name)])
            person = known["user_id", name][0]
            rows = await fetch_all(connection, _RUNS, person=person)
            await execute(connection, sql("UPDATE runs SET state = 'inside', visit = 1 WHERE lane = :p"), p=person)
            return person, [await projection.read_run(connection, item["id"]) for item in rows]

    async def _decide(self, entries: list[LedgerEntry] | None, *, dies: bool = False) -> None:
        """One transaction of the gate: decide these entries, or with None what is due."""
        async with self.database.transaction() as connection:
            locked = await subjects.lock_subjects(connection, [self.person])
            gate_pass = evaluation.GatePass(self.deps, connection, locked[self.person], None, self.model.now)
            due = (
                await messages_due.due_messages(connection, self.person, self.model.now) if entries is None else entries
            )
            for entry in due:
                await gate_pass.add(entry)
            await gate_pass.decide()
            if dies:
                raise Crash

    def _entry(self, at: projection.Run, message: SendMessage) -> LedgerEntry:
        key = message_key(at.id, message, self.person)
        entry = new_entry(message, key=key, run=at, step=1, recipient=self.person, now=self.model.now)
        entry.holds = at.id not in self.model.over
        return entry

    # -- rules -------------------------------------------------------------------------------------------------------

    @rule(
        which=st.integers(0, 2), topic=st.sampled_from(TOPICS), dies=st.booleans(),
        priority=st.sampled_from(["lifecycle", "lifecycle", "promotional", "transactional", "urgent_support"]),
    )  # fmt: skip
    def ask(self, which: int, topic: str, priority: str, dies: bool) -> None:
        """A journey requests a message; its worker may crash before the commit, and then requests it again."""
        message = SendMessage(
            "tip",
            "education/first-value",
            ("in_app",),
            "inside",
            1,
            len(self.model.asked),
            self.model.now,
            priority,
            topic,
        )
        at = self.runs[which]
        self.model.asked.append((at.id, message))
        if dies:
            with contextlib.suppress(Crash):
                self.do(self._decide([self._entry(at, message)], dies=True))
        self.do(self._decide([self._entry(at, message)]))

    @rule(
        asks=st.lists(
            st.tuples(st.integers(0, 2), st.sampled_from(TOPICS), st.sampled_from(sorted(CALM))), min_size=2, max_size=5
        )
    )
    def burst(self, asks: list[tuple[int, str, str]]) -> None:
        """Several requests in one transaction, of both priorities that may wait."""
        entries = []
        for which, topic, priority in asks:
            message = self._message(topic, priority)
            self.model.asked.append((self.runs[which].id, message))
            entries.append(self._entry(self.runs[which], message))
        self.do(self._decide(entries))

    @rule(hours=st.sampled_from([1, 2, 12, 25]))
    def wait_and_settle(self, hours: int) -> None:
        """Time passes and what is due is decided, as by a running workflow."""
        self.model.now += timedelta(hours=hours)
        self.do(self._decide(None))

    def _message(self, topic: str, priority: str) -> SendMessage:
        return SendMessage(
            "tip",
            "education/first-value",
            ("in_app",),
            "inside",
            1,
            len(self.model.asked),
            self.model.now,
            priority,
            topic,
        )

    @rule(number=st.integers(0, 10_000))
    def ask_again(self, number: int) -> None:
        """A worker crashed after its commit: the step is applied once more."""
        if self.model.asked:
            identity, message = self.model.asked[number % len(self.model.asked)]
            at = next(run for run in self.runs if run.id == identity)
            self.do(self._decide([self._entry(at, message)]))

    @rule(minutes=st.sampled_from([1, 20, 59, 60, 90, 240, 600, 1440]))
    def time_passes(self, minutes: int) -> None:
        self.model.now += timedelta(minutes=minutes)

    @rule(dies=st.booleans())
    def settle(self, dies: bool) -> None:
        """What is due is decided again."""
        if dies:
            with contextlib.suppress(Crash):
                self.do(self._decide(None, dies=True))
        self.do(self._decide(None))

    @rule(topic=st.sampled_from(TOPICS), granted=st.sampled_from([True, True, False]))
    def say(self, topic: str, granted: bool) -> None:
        self.model.now += INSTANT
        change = ConsentChange("in_app", topic, granted=granted, source="test")
        self.do(change_consents(self.database, self.deps.catalogue, self.deps.policy, self.person, [change]))
        spans = self.model.refused.setdefault(topic, [])
        if granted and spans and spans[-1][1] is None:
            spans[-1] = (spans[-1][0], self.model.now)
        elif not granted and not (spans and spans[-1][1] is None):
            spans.append((self.model.now, None))

    @rule(opens=st.sampled_from([True, False, False]))
    def ticket(self, opens: bool) -> None:
        self.model.now += INSTANT
        name = "ticket_opened" if opens else "ticket_resolved"
        data = {"ticket_id": "t", "priority": "urgent"}
        self.do(self._ticket(name, data))
        is_open = bool(self.model.urgent) and self.model.urgent[-1][1] is None
        if opens and not is_open:
            self.model.urgent.append((self.model.now, None))
        elif not opens and is_open:
            self.model.urgent[-1] = (self.model.urgent[-1][0], self.model.now)

    async def _ticket(self, name: str, data: dict[str, str]) -> None:
        async with self.database.transaction() as connection:
            await subjects.lock_subjects(connection, [self.person])
            rules = self.deps.policy.urgent_ticket
            now = self.model.now
            await tickets.record_ticket(connection, rules, name, data, [self.person], now, now)

    @precondition(lambda self: len(self.model.asked) > 8)
    @rule(which=st.integers(0, 2))
    def milestone(self, which: int) -> None:
        """A run leaves its state: its queued messages are withdrawn."""
        at = self.runs[which]
        self.model.now += INSTANT
        self.model.over.setdefault(at.id, self.model.now)
        self.do(self._leave(at))

    async def _leave(self, at: projection.Run) -> None:
        async with self.database.transaction() as connection:
            await subjects.lock_subjects(connection, [self.person])
            await execute(connection, _CLOSE, id=at.id)
            left = WithdrawnMessages("left", self.model.now, "inside", 1)
            await withdraw_queued(connection, at.id, left, self.model.now)

    # -- invariants --------------------------------------------------------------------------------------------------

    async def _read(self, statement: Any) -> list[Any]:
        async with self.database.reading() as connection:
            return await fetch_all(connection, statement, person=self.person)

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "model"):
            return
        rows = self.do(self._read(_LEDGER))
        sent_rows = [item for item in rows if item["status"] == "sent"]
        merged_rows = [item for item in rows if item["status"] == "merged"]
        lower_priority_sent = sorted(
            (item for item in sent_rows if item["priority"] in CALM), key=lambda item: item["sent_at"]
        )
        for number, item in enumerate(lower_priority_sent):
            at = item["sent_at"]
            assert (
                len([earlier for earlier in lower_priority_sent if at - timedelta(days=1) < earlier["sent_at"] <= at])
                <= CAP
            )
            assert number == 0 or at - lower_priority_sent[number - 1]["sent_at"] >= COOLDOWN
            hour = at.astimezone(ZONE).hour
            assert QUIET[1] <= hour < QUIET[0], f"in the night: {at.astimezone(ZONE)}"
            assert not inside(self.model.urgent, at), "while an urgent ticket was open"
        for item in (*[sent_row for sent_row in sent_rows if not sent_row["key"].startswith("digest/")], *merged_rows):
            at = item["sent_at"]
            assert not inside(self.model.refused.get(item["topic"], []), at), "after they opted out"
            assert item["run"] not in self.model.over or at <= self.model.over[item["run"]], "after its milestone"
        for digest in [item for item in sent_rows if item["key"].startswith("digest/")]:
            digest_parts = [item for item in merged_rows if item["merged_into"] == digest["key"]]
            assert len(digest_parts) >= 2
            assert {item["priority"] for item in digest_parts} == {digest["priority"]}, "across priorities"
            assert len({item["sent_at"] for item in digest_parts} | {digest["sent_at"]}) == 1
        asked = {message_key(identity, message, self.person) for identity, message in self.model.asked}
        assert {item["key"] for item in rows if not item["key"].startswith("digest/")} == asked, "lost, or from nowhere"
        inbox = sorted(item["key"] for item in self.do(self._read(_INBOX)))
        assert inbox == sorted(item["key"] for item in sent_rows), "the inbox has exactly the sent messages"

    def teardown(self) -> None:
        """Without an open ticket every message is settled."""
        if not hasattr(self, "model"):
            return
        self.ticket(opens=False)
        for _ in range(100):
            waiting = [item["due_at"] for item in self.do(self._read(_LEDGER)) if item["status"] == "deferred"]
            if not waiting:
                break
            self.model.now = max(self.model.now, min(waiting))
            self.do(self._decide(None))
            self.holds()
        else:
            raise AssertionError("a message is never settled")


async def _prepared(database_url: str, catalog: Path) -> tuple[Database, Dependencies]:
    database = Database(database_url)
    deps = build_dependencies(
        Settings(database_url=database_url, catalog=catalog, smtp_url="smtp://127.0.0.1:9"), database
    )
    for name in JOURNEYS:
        text = journey(name, "in_app")
        parsed, _ = read_journey(text)
        assert parsed is not None
        await publishing.publish_definition(
            database, load_chart(artifact_of(parsed, {})), artifact_of(parsed, {}), text, "test"
        )
    return database, deps


async def test_the_gate_keeps_its_rules_in_any_interleaving(database_url: str, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog"
    shutil.copytree(ROOT / "catalog", catalog)
    (catalog / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    (catalog / "consent.yaml").unlink(missing_ok=True)  # it belongs to the shipped policy

    def play() -> None:
        with asyncio.Runner() as runner:
            GateMachine.runner = runner
            GateMachine.database, GateMachine.deps = runner.run(_prepared(database_url, catalog))
            run_state_machine_as_test(
                GateMachine,
                settings=settings(
                    max_examples=40,
                    stateful_step_count=30,
                    deadline=None,
                    report_multiple_bugs=False,
                    suppress_health_check=list(HealthCheck),
                ),
            )
            runner.run(GateMachine.database.close())

    await asyncio.to_thread(play)
    assert await transitions_outside_table(database_url) == []
