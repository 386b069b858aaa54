"""Attempts against a plain model: unknown ends, retries, other addresses and channels, digests that fail, in any order.

The machine drives the real gate and the real delivery; mails go to a real relay that takes them, refuses them, or takes them and
hangs up. The model reads what has arrived, out of the mails themselves, and asks whether the ledger says the same.
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
from tests.support.smtp_relays import LIMIT, RELAYS, TOPICS, prepared
from tests.support.transitions import transitions_outside_table

_NUMBER = re.compile(r"tip-(\d+)")
_LEDGER = sql("SELECT * FROM messages WHERE recipient = :person ORDER BY id")
_INBOX = sql(
    "SELECT key, content->>'body_text' AS text, content->'items' AS items FROM inbox WHERE recipient = :person"
)
_RUNS = sql("SELECT id FROM runs WHERE lane = :person ORDER BY id")
_INSIDE = sql("UPDATE runs SET state = 'inside', visit = 1 WHERE lane = :person")
_OVER = sql("UPDATE runs SET state = 'over', visit = 2 WHERE id = :id")
_LAPSED = sql("UPDATE messages SET lease_until = clock_timestamp() WHERE recipient = :person AND status = 'sending'")

A_MESSAGE = st.tuples(st.integers(0, 1), st.sampled_from(TOPICS), st.booleans())
"""Which run asks, of what topic, and whether the inbox may have it where mail may not."""
T = TypeVar("T")


@dataclass
class Told:
    """What the model knows. `arrived`: by number, under which names a message came; `by`: by name, to what address and by what relay."""

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
    """One person, two runs, one clock; and a relay that is as each rule says."""

    houses: Mapping[str, Dependencies]
    mails: Path
    runner: asyncio.Runner

    @property
    def database(self) -> Database:
        return self.houses["takes"].database

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize()
    def begin(self) -> None:
        self.told = Told(datetime.now(UTC))
        self.name = f"p{self.told.now.timestamp()}"
        self.person, self.runs = self.do(self._person())

    async def _person(self) -> tuple[str, list[projection.Run]]:
        deps = self.houses["takes"]
        self.told.address = f"{self.name}@example.com"
        calls = [
            InboundEvent(
                "identify", f"{self.name}-i", "identify", user_id=self.name, traits={"email": self.told.address}
            ),
            InboundEvent("track", f"{self.name}-in", "signed_up", user_id=self.name),
        ]
        await ingest.accept(self.database, deps.catalogue, calls, source="test")
        async with self.database.transaction() as connection:
            person = (await find_subjects(connection, [("user_id", self.name)]))["user_id", self.name][0]
            await execute(connection, _INSIDE, person=person)
            found = await fetch_all(connection, _RUNS, person=person)
            return person, [await projection.read_run(connection, item["id"]) for item in found]

    # -- what happens ------------------------------------------------------------------------------------------------

    @rule(
        asks=st.lists(A_MESSAGE, min_size=1, max_size=3),
        relay=st.sampled_from([*RELAYS, "hangs up"]),
    )
    def ask(self, asks: list[tuple[int, str, bool]], relay: str) -> None:
        """A step asks for some messages."""
        entries = []
        for which, topic, inbox in asks:
            number = len(self.told.asked)
            via = ("email", "in_app") if inbox else ("email",)
            message = SendMessage(
                "tip", "tip", via, "inside", 1, number, self.told.now, "lifecycle", topic, data={"number": str(number)}
            )
            at = self.runs[which]
            self.told.asked.append((at.id, message))
            key = message_key(at.id, message, self.person)
            entry = new_entry(message, key=key, run=at, step=1, recipient=self.person, now=self.told.now)
            entry.holds = at.id not in self.told.over
            entries.append(entry)
        self.do(self._ask(self.houses[relay], entries))
        self.see(relay)

    async def _ask(self, deps: Dependencies, entries: list[LedgerEntry]) -> None:
        async with self.database.transaction() as connection:
            locked = await subjects.lock_subjects(connection, [self.person])
            gate_pass = evaluation.GatePass(deps, connection, locked[self.person], None, self.told.now)
            for entry in entries:
                await gate_pass.add(entry)
            attempts = await gate_pass.decide()
        await delivery.attempt_all(deps, attempts, self.told.now)

    @rule(
        minutes=st.sampled_from([0, 10, 60, 60, 180, 1440, 1500]), relay=st.sampled_from([*RELAYS, "hangs up", "later"])
    )
    def look(self, minutes: int, relay: str) -> None:
        """Time passes, leases run out, and what is due is decided again and tried."""
        self.told.now += timedelta(minutes=minutes)
        self.do(self._look(relay))
        self.see(relay)

    async def _look(self, relay: str) -> None:
        async with self.database.transaction() as connection:
            await execute(connection, _LAPSED, person=self.person)
        await outreach.settle_due(self.houses[relay], wire.SettleInput(self.person, self.told.now.isoformat()), {})

    @rule(asks=st.lists(A_MESSAGE, min_size=1, max_size=2), others=st.lists(A_MESSAGE, max_size=1))
    def doubt(self, asks: list[tuple[int, str, bool]], others: list[tuple[int, str, bool]]) -> None:
        """After a quiet day some may have arrived, the next try surely failed, and others wait for the cooldown."""
        self.look(1500, "takes")
        self.look(61, "takes")
        self.ask(asks, "hangs up")
        if others:
            self.ask(others, "takes")
        self.look(0, "later")
        self.holds()

    @rule(relays=st.lists(st.sampled_from(["hangs up", "later", "takes"]), min_size=2, max_size=4))
    def look_often(self, relays: list[str]) -> None:
        """Every hour, with nothing else between."""
        for relay in relays:
            self.look(60, relay)
            self.holds()

    @rule(what=st.one_of(
        st.tuples(st.just("move"), st.sampled_from(["example.com", "busy.example", "bounce.example", ""])),
        st.tuples(st.just("say"), st.sampled_from(["email", "email", "in_app"]), st.sampled_from(TOPICS), st.booleans()),
        st.tuples(st.just("milestone"), st.integers(0, 1)),
        st.tuples(st.just("stop")),
        st.tuples(st.just("resend"), st.integers(0, 1_000)),
    ))  # fmt: skip
    def disturb(self, what: tuple[Any, ...]) -> None:
        """Something happens around it."""
        name, *values = what
        getattr(self, name)(*values)

    def move(self, where: str) -> None:
        """They have another address, or none."""
        self.told.address = f"{self.name}-{self.told.now.timestamp()}@{where}" if where else ""
        self.do(self._known(self.told.address))

    async def _known(self, email: str) -> None:
        name = f"{self.name}-{datetime.now(UTC).timestamp()}"
        call = InboundEvent("identify", name, "identify", user_id=self.name, traits={"email": email})
        await ingest.accept(self.database, self.houses["takes"].catalogue, [call], source="test")

    def say(self, channel: str, topic: str, granted: bool) -> None:
        """They say yes or no."""
        deps, change = self.houses["takes"], ConsentChange(channel, topic, granted=granted, source="test")
        self.do(change_consents(self.database, deps.catalogue, deps.policy, self.person, [change]))
        (self.told.refused.discard if granted else self.told.refused.add)((channel, topic))

    def milestone(self, which: int) -> None:
        """A run leaves its state: what waits for it goes."""
        self.told.over.add(self.runs[which].id)
        self.do(self._leave(self.runs[which]))

    async def _leave(self, at: projection.Run) -> None:
        async with self.database.transaction() as connection:
            await subjects.lock_subjects(connection, [self.person])
            await execute(connection, _OVER, id=at.id)
            left = WithdrawnMessages("left", self.told.now, "inside", 1)
            await withdraw_queued(connection, at.id, left, self.told.now)

    def stop(self) -> None:
        """Somebody throws the switch, or releases it."""
        self.told.stop = self.do(self._stop())

    async def _stop(self) -> int | None:
        if self.told.stop is not None:
            await kill_switches.release_switch(self.database, self.told.stop, "dana")
            return None
        async with self.database.transaction() as connection:
            return int((await kill_switches.engage(connection, "template", "digest/together", "a fire", "dana"))["id"])

    def resend(self, number: int) -> None:
        """Somebody asks for one again whose end is not good; of what came as one, for the whole."""
        found = [item for item in self.ledger() if item["status"] in {"failed", "unknown"} and not item["merged_into"]]
        if found:
            self.do(resend_message(self.database, found[number % len(found)]["id"]))
            self.told.now = max(self.told.now, datetime.now(UTC))

    # -- what has arrived ------------------------------------------------------------------------------------------------

    def ledger(self) -> list[Any]:
        return list(self.do(self._read(_LEDGER)))

    async def _read(self, statement: Any) -> Any:
        async with self.database.reading() as connection:
            return await fetch_all(connection, statement, person=self.person)

    def see(self, relay: str) -> None:
        """What has come since we looked last: whom it reached, and what it says."""
        for file in sorted(self.mails.glob("*/new/*")):
            if file.name in self.told.read:
                continue
            self.told.read.add(file.name)
            mail = message_from_bytes(file.read_bytes(), policy=policy.default)
            if not str(mail["Delivered-To"]).startswith(self.name):
                continue
            assert (mail["Delivered-To"], mail["To"]) == (self.told.address, self.told.address), "to another address"
            plain = mail.get_body(("plain",))
            assert plain is not None
            numbers = {int(each) for each in _NUMBER.findall(plain.get_content())}
            assert numbers
            for number in numbers:
                topic = self.told.asked[number][1].topic or ""
                assert ("email", topic) not in self.told.refused, "after they said no"
                self.told.arrived.setdefault(number, set()).add(mail["Message-ID"])
            before = self.told.by.setdefault(mail["Message-ID"], [])
            assert all(each == (self.told.address, "hangs up") for each in before), (
                "elsewhere, or though its end was seen"
            )
            before.append((self.told.address, relay))

    def shown(self) -> Iterator[tuple[int, str]]:
        for item in self.do(self._read(_INBOX)):
            for number in set(_NUMBER.findall(f"{item['text']} {item['items']}")):
                yield int(number), item["key"]

    # -- what must be true -------------------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "told"):
            return
        names = {number: set(found) for number, found in self.told.arrived.items()}
        for number, key in self.shown():
            names.setdefault(number, set()).add(key)
        for number, keys_of_it in names.items():
            assert len(keys_of_it) == 1, f"tip-{number} came as {len(keys_of_it)} messages"
        found = self.ledger()
        wholes = {item["key"]: item for item in found}
        keys = [message_key(identity, message, self.person) for identity, message in self.told.asked]
        for number, key in enumerate(keys):
            is_told_as_it_is(wholes[key], wholes, arrived=number in names)
        for item in found:
            if item["key"].startswith("digest/"):
                ends_together(item, [each for each in found if each["merged_into"] == item["key"]])
        capped(found, wholes)

    def teardown(self) -> None:
        """Nothing waits for ever, where nothing is stopped and the relay takes what comes."""
        if not hasattr(self, "told"):
            return
        if self.told.stop is not None:
            self.stop()
        self.move("example.com")
        for _ in range(100):
            waiting = [item for item in self.ledger() if item["status"] in {"deferred", "sending"}]
            if not waiting:
                return
            due = [item["due_at"] for item in waiting if item["due_at"] is not None]
            self.told.now = max([self.told.now, min(due, default=self.told.now)])
            self.look(0, "takes")
            self.holds()
        raise AssertionError("something waits for ever")


def is_told_as_it_is(item: Any, wholes: Mapping[str, Any], *, arrived: bool) -> None:
    """What has arrived never reads as if it had not, and what reads as sent has."""
    whole = wholes[item["merged_into"]] if item["status"] == "merged" else item
    if arrived:
        seen = whole["status"] == "sent" or whole["status"] in {"sending", "unknown"} or whole["in_doubt"]
        assert seen, f"has arrived, and reads {whole['status']}"
    assert arrived or whole["status"] != "sent", "reads as sent, and has not arrived"


def ends_together(digest: Any, parts: list[Any]) -> None:
    """The parts of a digest end as it does."""
    statuses = {each["status"] for each in parts}
    match digest["status"]:
        case "sent":
            assert statuses == {"merged"}
        case "unknown":
            assert statuses == {"unknown"}
        case "failed":
            assert statuses <= {"failed"}, "decided again by themselves, or failed with it"
        case _:
            assert statuses <= {"merged", "unknown"}, f"{digest['status']}: {statuses}"


def capped(found: list[Any], wholes: Mapping[str, Any]) -> None:
    """Of its topic no more have gone than its cap allows, by themselves or as parts."""
    went = [
        item["sent_at"]
        for item in found
        if item["topic"] == "offers"
        and (wholes[item["merged_into"]] if item["status"] == "merged" else item)["status"] == "sent"
    ]
    for at in went:
        assert len([each for each in went if at - timedelta(days=1) < each <= at]) <= LIMIT


async def test_nothing_comes_twice_nothing_is_lost_and_the_ledger_says_what_has_arrived(
    database_url: str, tmp_path: Path
) -> None:
    def play() -> None:
        with asyncio.Runner() as runner:
            DeliveryMachine.runner, DeliveryMachine.mails = runner, tmp_path / "mails"
            until = contextlib.AsyncExitStack()
            DeliveryMachine.houses = runner.run(prepared(database_url, tmp_path, until))
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
