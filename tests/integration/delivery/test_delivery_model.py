"""Attempts against a model: unknown results, retries, other addresses and channels, and failed digests in any order.

The machine drives the real gate and the real delivery; mails go to a relay that accepts them, refuses them, or accepts them and
disconnects. The model reads the mails that arrived and compares them with the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from activities.delivery import attempts as delivery
from activities.delivery import outreach
from activities.dependencies import Dependencies
from activities.gate import evaluation
from journeys.consent.changes import ConsentChange
from journeys.decision.effects import SendMessage, WithdrawnMessages, message_key
from journeys.events.inbound import InboundEvent
from journeys.protocol import wire
from store.clocks import control
from store.database import Database, execute, fetch_all, sql
from store.events import ingest
from store.events.changes import change_consents
from store.messages import kill_switches
from store.messages.entries import LedgerEntry, new_entry
from store.messages.resend import resend_message
from store.messages.withdrawals import withdraw_queued
from store.people import subjects
from store.people.identities import find_subjects
from store.runs import projection
from tests.support.smtp_relays import LIMIT, RELAYS, TOPICS, dependencies_by_relay
from tests.support.transitions import transitions_outside_table

_NUMBER = re.compile(r"tip-(\d+)")
_LEDGER = sql("SELECT * FROM messages WHERE recipient = :person ORDER BY id")
_INBOX = sql(
    "SELECT key, content->>'body_text' AS text, content->'items' AS items FROM inbox WHERE recipient = :person"
)
_RUNS = sql("SELECT id FROM runs WHERE lane = :person ORDER BY id")
_INSIDE = sql("UPDATE runs SET state = 'inside', visit = 1 WHERE lane = :person")
_OVER = sql("UPDATE runs SET state = 'over', visit = 2 WHERE id = :id")
_ON_NO_CLOCK = sql("UPDATE runs SET clock = NULL")
_MOVE = sql("UPDATE clocks SET now = :now, target = :now WHERE id = :id AND now < :now")
_LAPSED = sql("UPDATE messages SET lease_until = clock_timestamp() WHERE recipient = :person AND status = 'sending'")

A_MESSAGE = st.tuples(st.integers(0, 1), st.sampled_from(TOPICS), st.booleans())
"""Which run requests it, its topic, and whether the inbox is allowed beside mail."""
T = TypeVar("T")


@dataclass
class Model:
    """The state of the model. `arrived`: Message-IDs by number of the message; `by`: addresses and relays by Message-ID."""

    now: datetime
    address: str = ""
    refused: set[tuple[str, str]] = field(default_factory=set)
    over: set[str] = field(default_factory=set)
    asked: list[tuple[str, SendMessage]] = field(default_factory=list)
    arrived: dict[int, set[str]] = field(default_factory=dict)
    by: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    stop: int | None = None


class DeliveryMachine(RuleBasedStateMachine):
    """One person, two runs and one clock; each rule chooses the relay."""

    by_relay: Mapping[str, Dependencies]
    mails: Path
    runner: asyncio.Runner

    @property
    def database(self) -> Database:
        return self.by_relay["takes"].database

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize()
    def begin(self) -> None:
        self.model = Model(datetime.now(UTC))
        self.name = f"p{self.model.now.timestamp()}"
        self.person, self.runs = self.do(self._person())

    async def _person(self) -> tuple[str, list[projection.Run]]:
        deps = self.by_relay["takes"]
        self.model.address = f"{self.name}@example.com"
        calls = [
            InboundEvent(
                "identify", f"{self.name}-i", "identify", user_id=self.name, traits={"email": self.model.address}
            ),
            InboundEvent("track", f"{self.name}-in", "signed_up", user_id=self.name),
        ]
        async with self.database.transaction() as connection:
            await control.create_clock(connection, self.name, self.model.now)
        await ingest.accept(self.database, deps.catalogue, calls, source="test", clock=self.name)
        async with self.database.transaction() as connection:
            # The model moves their clock, and their messages are tried as those of people on none.
            await execute(connection, _ON_NO_CLOCK)
            person = (await find_subjects(connection, [("user_id", self.name)]))["user_id", self.name][0]
            await execute(connection, _INSIDE, person=person)
            rows = await fetch_all(connection, _RUNS, person=person)
            return person, [await projection.read_run(connection, item["id"]) for item in rows]

    # -- rules -------------------------------------------------------------------------------------------------------

    @rule(
        asks=st.lists(A_MESSAGE, min_size=1, max_size=3),
        relay=st.sampled_from([*RELAYS, "hangs up"]),
    )
    def ask(self, asks: list[tuple[int, str, bool]], relay: str) -> None:
        """A step requests some messages."""
        entries = []
        for which, topic, inbox in asks:
            number = len(self.model.asked)
            via = ("email", "in_app") if inbox else ("email",)
            message = SendMessage(
                "tip", "tip", via, "inside", 1, number, self.model.now, "lifecycle", topic, data={"number": str(number)}
            )
            at = self.runs[which]
            self.model.asked.append((at.id, message))
            key = message_key(at.id, message, self.person)
            entry = new_entry(message, key=key, run=at, step=1, recipient=self.person, now=self.model.now)
            entry.holds = at.id not in self.model.over
            entries.append(entry)
        self.do(self._ask(self.by_relay[relay], entries))
        self.read_new_mails(relay)

    async def _ask(self, deps: Dependencies, entries: list[LedgerEntry]) -> None:
        async with self.database.transaction() as connection:
            locked = await subjects.lock_subjects(connection, [self.person])
            gate_pass = evaluation.GatePass(deps, connection, locked[self.person], None, self.model.now)
            for entry in entries:
                await gate_pass.add(entry)
            attempts = await gate_pass.decide()
        await delivery.attempt_all(deps, attempts, self.model.now)

    @rule(
        minutes=st.sampled_from([0, 10, 60, 60, 180, 1440, 1500]), relay=st.sampled_from([*RELAYS, "hangs up", "later"])
    )
    def look(self, minutes: int, relay: str) -> None:
        """Time passes, leases run out, and what is due is decided again and tried."""
        self.model.now += timedelta(minutes=minutes)
        self.do(self._look(relay))
        self.read_new_mails(relay)

    async def _look(self, relay: str) -> None:
        async with self.database.transaction() as connection:
            await execute(connection, _MOVE, id=self.name, now=self.model.now)
            await execute(connection, _LAPSED, person=self.person)
        await outreach.settle_due(self.by_relay[relay], wire.SettleInput(self.person, self.model.now.isoformat()), {})

    @rule(asks=st.lists(A_MESSAGE, min_size=1, max_size=2), others=st.lists(A_MESSAGE, max_size=1))
    def doubt(self, asks: list[tuple[int, str, bool]], others: list[tuple[int, str, bool]]) -> None:
        """After a quiet day: messages whose answer was lost, others in the cooldown, then a failed retry."""
        self.look(1500, "takes")
        self.look(61, "takes")
        self.ask(asks, "hangs up")
        if others:
            self.ask(others, "takes")
        self.look(0, "later")
        self.holds()

    @rule(relays=st.lists(st.sampled_from(["hangs up", "later", "takes"]), min_size=2, max_size=4))
    def look_often(self, relays: list[str]) -> None:
        """Settle every hour, with nothing else between."""
        for relay in relays:
            self.look(60, relay)
            self.holds()

    @rule(change=st.one_of(
        st.tuples(st.just("move"), st.sampled_from(["example.com", "busy.example", "bounce.example", ""])),
        st.tuples(st.just("say"), st.sampled_from(["email", "email", "in_app"]), st.sampled_from(TOPICS), st.booleans()),
        st.tuples(st.just("milestone"), st.integers(0, 1)),
        st.tuples(st.just("stop")),
        st.tuples(st.just("resend"), st.integers(0, 1_000)),
    ))  # fmt: skip
    def disturb(self, change: tuple[Any, ...]) -> None:
        """One change from outside: address, consent, milestone, kill switch or resend."""
        name, *values = change
        getattr(self, name)(*values)

    def move(self, where: str) -> None:
        """The person gets another address, or none."""
        self.model.address = f"{self.name}-{self.model.now.timestamp()}@{where}" if where else ""
        self.do(self._known(self.model.address))

    async def _known(self, email: str) -> None:
        name = f"{self.name}-{datetime.now(UTC).timestamp()}"
        call = InboundEvent("identify", name, "identify", user_id=self.name, traits={"email": email})
        await ingest.accept(self.database, self.by_relay["takes"].catalogue, [call], source="test")

    def say(self, channel: str, topic: str, granted: bool) -> None:
        """The person opts in or out."""
        deps, change = self.by_relay["takes"], ConsentChange(channel, topic, granted=granted, source="test")
        self.do(change_consents(self.database, deps.catalogue, deps.policy, self.person, [change]))
        (self.model.refused.discard if granted else self.model.refused.add)((channel, topic))

    def milestone(self, which: int) -> None:
        """A run leaves its state: its queued messages are withdrawn."""
        self.model.over.add(self.runs[which].id)
        self.do(self._leave(self.runs[which]))

    async def _leave(self, at: projection.Run) -> None:
        async with self.database.transaction() as connection:
            await subjects.lock_subjects(connection, [self.person])
            await execute(connection, _OVER, id=at.id)
            left = WithdrawnMessages("left", self.model.now, "inside", 1)
            await withdraw_queued(connection, at.id, left, self.model.now)

    def stop(self) -> None:
        """An operator engages the kill switch, or releases it."""
        self.model.stop = self.do(self._stop())

    async def _stop(self) -> int | None:
        if self.model.stop is not None:
            await kill_switches.release_switch(self.database, self.model.stop, "dana")
            return None
        async with self.database.transaction() as connection:
            return int((await kill_switches.engage(connection, "template", "digest/together", "a fire", "dana"))["id"])

    def resend(self, number: int) -> None:
        """An operator resends a failed or unknown message; instead of a part, its digest."""
        candidates = [
            item for item in self.ledger() if item["status"] in {"failed", "unknown"} and not item["merged_into"]
        ]
        if candidates:
            self.do(resend_message(self.database, candidates[number % len(candidates)]["id"]))
            self.model.now = max(self.model.now, datetime.now(UTC))

    # -- arrived mails ---------------------------------------------------------------------------------------------------

    def ledger(self) -> list[Any]:
        return list(self.do(self._read(_LEDGER)))

    async def _read(self, statement: Any) -> Any:
        async with self.database.reading() as connection:
            return await fetch_all(connection, statement, person=self.person)

    def read_new_mails(self, relay: str) -> None:
        """Record the mails since the last read: their addresses and the numbers in them."""
        for file in sorted(self.mails.glob("*/new/*")):
            if file.name in self.model.read:
                continue
            self.model.read.add(file.name)
            mail = message_from_bytes(file.read_bytes(), policy=policy.default)
            if not str(mail["Delivered-To"]).startswith(self.name):
                continue
            assert (mail["Delivered-To"], mail["To"]) == (self.model.address, self.model.address), "to another address"
            plain = mail.get_body(("plain",))
            assert plain is not None
            numbers = {int(number_text) for number_text in _NUMBER.findall(plain.get_content())}
            assert numbers
            for number in numbers:
                topic = self.model.asked[number][1].topic or ""
                assert ("email", topic) not in self.model.refused, "after they opted out"
                self.model.arrived.setdefault(number, set()).add(mail["Message-ID"])
            earlier = self.model.by.setdefault(mail["Message-ID"], [])
            assert all(place == (self.model.address, "hangs up") for place in earlier), (
                "sent again to another address, or after a known result"
            )
            earlier.append((self.model.address, relay))

    def inbox_items(self) -> Iterator[tuple[int, str]]:
        for item in self.do(self._read(_INBOX)):
            for number in set(_NUMBER.findall(f"{item['text']} {item['items']}")):
                yield int(number), item["key"]

    # -- invariants --------------------------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "model"):
            return
        keys_by_number = {number: set(keys_seen) for number, keys_seen in self.model.arrived.items()}
        for number, key in self.inbox_items():
            keys_by_number.setdefault(number, set()).add(key)
        for number, keys_of_it in keys_by_number.items():
            assert len(keys_of_it) == 1, f"tip-{number} came as {len(keys_of_it)} messages"
        rows = self.ledger()
        messages = {item["key"]: item for item in rows}
        keys = [message_key(identity, message, self.person) for identity, message in self.model.asked]
        for number, key in enumerate(keys):
            assert_status_matches_arrival(messages[key], messages, arrived=number in keys_by_number)
        for item in rows:
            if item["key"].startswith("digest/"):
                assert_parts_end_with_digest(item, [row for row in rows if row["merged_into"] == item["key"]])
        assert_cap_holds(rows, messages)

    def teardown(self) -> None:
        """Without a kill switch and with a relay that accepts everything, every message is settled."""
        if not hasattr(self, "model"):
            return
        if self.model.stop is not None:
            self.stop()
        self.move("example.com")
        for _ in range(100):
            waiting = [item for item in self.ledger() if item["status"] in {"deferred", "sending"}]
            if not waiting:
                return
            due = [item["due_at"] for item in waiting if item["due_at"] is not None]
            self.model.now = max([self.model.now, min(due, default=self.model.now)])
            self.look(0, "takes")
            self.holds()
        raise AssertionError("a message is never settled")


def assert_status_matches_arrival(item: Any, wholes: Mapping[str, Any], *, arrived: bool) -> None:
    """A message that arrived has a status that allows it, and a message with status sent has arrived."""
    whole = wholes[item["merged_into"]] if item["status"] == "merged" else item
    if arrived:
        seen = whole["status"] == "sent" or whole["status"] in {"sending", "unknown"} or whole["in_doubt"]
        assert seen, f"has arrived, and its status is {whole['status']}"
    assert arrived or whole["status"] != "sent", "has status sent, and has not arrived"


def assert_parts_end_with_digest(digest: Any, parts: list[Any]) -> None:
    """The parts of a digest have the status that fits to its own."""
    statuses = {part["status"] for part in parts}
    match digest["status"]:
        case "sent":
            assert statuses == {"merged"}
        case "unknown":
            assert statuses == {"unknown"}
        case "failed":
            assert statuses <= {"failed"}, "decided again by themselves, or failed with the digest"
        case _:
            assert statuses <= {"merged", "unknown"}, f"{digest['status']}: {statuses}"


def assert_cap_holds(rows: list[Any], wholes: Mapping[str, Any]) -> None:
    """No more messages of the topic were sent than its cap allows, by themselves or in digests."""
    went = [
        item["sent_at"]
        for item in rows
        if item["topic"] == "offers"
        and (wholes[item["merged_into"]] if item["status"] == "merged" else item)["status"] == "sent"
    ]
    for at in went:
        assert len([sent_at for sent_at in went if at - timedelta(days=1) < sent_at <= at]) <= LIMIT


async def test_no_message_is_doubled_or_lost_and_the_ledger_matches_the_mails_that_arrived(
    database_url: str, tmp_path: Path
) -> None:
    def play() -> None:
        with asyncio.Runner() as runner:
            DeliveryMachine.runner, DeliveryMachine.mails = runner, tmp_path / "mails"
            until = contextlib.AsyncExitStack()
            DeliveryMachine.by_relay = runner.run(dependencies_by_relay(database_url, tmp_path, until))
            run_state_machine_as_test(
                DeliveryMachine,
                settings=settings(
                    max_examples=40,
                    stateful_step_count=20,
                    deadline=None,
                    report_multiple_bugs=False,
                    suppress_health_check=list(HealthCheck),
                ),
            )
            runner.run(until.aclose())

    await asyncio.to_thread(play)
    assert await transitions_outside_table(database_url) == []
