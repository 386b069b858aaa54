"""The feed on real runs: the whole ledger in order, also with late commits."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest_asyncio
import yaml

from activities.gate import evaluation
from journeys.decision.effects import SendMessage
from store.database import execute, sql
from store.exports import feed
from store.messages.entries import new_entry
from store.messages.resend import resend_message
from store.people import subjects
from store.runs import projection
from tests.support.databases import Databases
from tests.support.live_stack import LiveStack, live_stack, until, wait_until_certain
from worker.settings import ROOT

POLICY = {
    "consent": [{"default": "granted"}],
    "caps": [{"name": "three", "channel": "email", "limit": 3, "window": "P1D"}],
    "cooldowns": [{"name": "breath", "channel": "in_app", "between": "PT1S"}],
    "consolidate": [{"name": "one", "channel": "in_app", "window": "PT1H", "template": "digest/together"}],
}
MAILS = """
journey: NAME
entry: {on: signed_up, again: never}
exit: [{on: account_closed}]
topic: onboarding
start: inside
states:
  inside: {do: [{send: education/first-value, via: [CHANNEL]}], on: {done: over}}
  over: {final: finished}
"""
ENDS = {
    "deferred": {"defer", "again", "retry"},
    "withheld": {"withhold"},
    "replaced": {"replace"},
    "merged": {"merge"},
    "withdrawn": {"withdraw"},
}


@pytest_asyncio.fixture(scope="session")
async def databases(databases_of_own_server: Databases) -> Databases:
    """A server of its own: the feed waits for the oldest transaction of all of PostgreSQL, also another test's."""
    return databases_of_own_server


@pytest_asyncio.fixture
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    catalog = tmp_path / "catalog"
    shutil.copytree(ROOT / "catalog", catalog)
    (catalog / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    (catalog / "consent.yaml").unlink()
    async with live_stack(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as stack:
        yield stack


async def whole_feed(stack: LiveStack, page: int = 7, *, wait: bool = True) -> list[dict[str, Any]]:
    """The whole feed, page by page, as a loader reads it. With `wait`, after it shows everything committed so far."""
    if wait:
        await wait_until_certain(stack.database)
    horizon, after = feed.Horizon(), 0
    all_lines: list[dict[str, Any]] = []
    while True:
        upto = await horizon.look(stack.database, wanted=after)
        async with stack.database.reading() as connection:
            lines = await feed.read_lines(connection, after, upto, page)
        if not lines:
            return all_lines
        all_lines += lines
        after = lines[-1]["id"]


async def test_the_feed_matches_the_ledger_after_random_events(stack: LiveStack) -> None:
    dice = random.Random(4)
    for n in range(6):
        await stack.publish(MAILS.replace("NAME", f"j{n}").replace("CHANNEL", dice.choice(["email", "in_app"])))
    people = [f"p{n}" for n in range(5)]
    for person in people:
        await stack.accept(stack.identify(person, **({"email": f"{person}@example.com"} if person != "p4" else {})))
    for _ in range(30):
        await stack.accept(
            stack.track(dice.choice(people), dice.choice(["signed_up", "signed_up", "done", "account_closed"]))
        )
    await stack.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL AND kind <> 'wake'", lambda n: n == 0)
    await stack.until("SELECT count(*) FROM messages WHERE status = 'sending'", lambda n: n == 0)
    await until(lambda: _matches_ledger(stack), waiting_for="the feed to match the ledger")


async def _matches_ledger(stack: LiveStack) -> bool:
    """Whether the feed, grouped by message, has the status and attempts of every row, and no line twice."""
    lines = await whole_feed(stack)
    rows = await stack.rows("SELECT id, key, status, attempts, journey, recipient, channel FROM messages ORDER BY id")
    if len(lines) != (await stack.rows("SELECT count(*) AS n FROM feed"))[0]["n"]:
        return False
    assert len({line["id"] for line in lines}) == len(lines)
    by_message = defaultdict(list)
    for line in lines:
        by_message[line["message"]["id"]].append(line)
    assert by_message.keys() == {row["id"] for row in rows}
    for row in rows:
        of_message = by_message[row["id"]]
        if of_message[-1]["message"]["status"] != row["status"]:
            return False  # the message has changed since the feed was read
        assert [of_message[-1]["message"][name] for name in ("key", "journey", "recipient")] == [
            row["key"],
            row["journey"],
            row["recipient"],
        ]
        assert of_message[0]["type"] == "decision"
        begun = [line["attempt"] for line in of_message if line.get("verdict") == "send"]
        assert begun == list(range(1, row["attempts"] + 1))
        if row["status"] in ENDS:
            assert (of_message[-1].get("verdict") or of_message[-1]["result"]) in ENDS[row["status"]]
        elif row["channel"] == "email" and row["status"] == "sent":
            assert (of_message[-1]["type"], of_message[-1]["result"]) == ("delivery", "sent")
    return bool(rows)


class _Rollback(Exception):
    """Rolls a transaction back."""


async def _insert_message(stack: LiveStack, connection: Any, key: str) -> None:
    await execute(connection, sql(_INSERT), key=key)


_INSERT = """
    INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority,
      at, status, decided_at)
    VALUES (:key, 'r', 1, 'u', 'u', 'j', 's', 1, 'a', 't', '[]', 'lifecycle', now(), 'withheld', clock_timestamp())
"""


async def test_a_line_that_commits_late_is_not_skipped_and_keeps_its_order(stack: LiveStack) -> None:
    horizon = feed.Horizon()
    async with stack.database.transaction() as late:
        await _insert_message(stack, late, "late")
        async with stack.database.transaction() as early:
            await _insert_message(stack, early, "early")
        assert len(await stack.rows("SELECT 1 FROM feed")) == 1, "the later number is visible already"
        assert await horizon.look(stack.database) == 0, (
            "but not in the feed, because an earlier one may still be committed"
        )
        assert await whole_feed(stack, wait=False) == []
    assert [line["message"]["key"] for line in await whole_feed(stack)] == ["late", "early"]
    assert await horizon.look(stack.database) == (await whole_feed(stack))[-1]["id"]


async def test_a_rolled_back_line_does_not_delay_the_feed(stack: LiveStack) -> None:
    with contextlib.suppress(_Rollback):
        async with stack.database.transaction() as gone:
            await _insert_message(stack, gone, "gone")
            raise _Rollback
    async with stack.database.transaction() as connection:
        await _insert_message(stack, connection, "kept")
    assert [line["message"]["key"] for line in await whole_feed(stack)] == ["kept"]


async def test_the_lines_of_one_message_are_in_the_order_of_its_changes(stack: LiveStack) -> None:
    """The older transaction writes the later line: lines of one message are in the order of the changes."""
    async with stack.database.transaction() as connection:
        await _insert_message(stack, connection, "m")
    async with stack.database.transaction() as old:
        await old.fetch("SELECT pg_current_xact_id()")
        async with stack.database.transaction() as young:
            await execute(young, sql("UPDATE messages SET status = 'deferred' WHERE key = 'm'"))
        await execute(old, sql("UPDATE messages SET status = 'replaced' WHERE key = 'm'"))
    assert [line["message"]["status"] for line in await whole_feed(stack)] == ["withheld", "deferred", "replaced"]


async def test_a_reader_misses_no_line_of_many_concurrent_writers(stack: LiveStack) -> None:
    dice, done = random.Random(7), asyncio.Event()
    horizon, read = feed.Horizon(), list[int]()

    async def write(n: int) -> None:
        async with stack.database.transaction() as connection:
            await _insert_message(stack, connection, f"w{n}")
            await asyncio.sleep(dice.random() * 0.03)

    async def loader() -> None:
        while True:
            last = done.is_set()
            upto = await horizon.look(stack.database, wanted=read[-1] if read else 0)
            async with stack.database.reading() as connection:
                lines = await feed.read_lines(connection, read[-1] if read else 0, upto, 50)
            read.extend(line["id"] for line in lines)
            if last and not lines:
                return

    reading = asyncio.create_task(loader())
    for _ in range(20):
        await asyncio.gather(*(write(n) for n in dice.sample(range(10**9), 12)))
    done.set()
    await reading
    assert read == [row["id"] for row in await stack.rows("SELECT id FROM feed ORDER BY id")]
    assert len(read) == 240


async def test_a_verdict_writes_its_feed_line_in_its_transaction_without_another_statement(stack: LiveStack) -> None:
    await stack.publish(MAILS.replace("NAME", "one").replace("CHANNEL", "email"))
    await stack.accept(stack.identify("ada", email="ada@example.com"), stack.track("ada", "signed_up"))
    await stack.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 1)
    row = (await stack.rows("SELECT run, recipient FROM messages"))[0]
    with contextlib.suppress(_Rollback):
        async with stack.database.transaction() as connection:
            person = (await subjects.lock_subjects(connection, [row["recipient"]]))[row["recipient"]]
            now = datetime.now(UTC) + timedelta(days=2)
            effect = SendMessage("tip", "education/first-value", ("email",), "inside", 1, 9, now, "lifecycle")
            entry = new_entry(
                effect,
                key="k",
                run=await projection.read_run(connection, row["run"]),
                step=2,
                recipient=person.key,
                now=now,
            )
            counted = _CountingConnection(connection)
            gate_pass = evaluation.GatePass(stack.deps, counted, person, None, now)
            await gate_pass.add(entry)
            await gate_pass.decide()
            assert counted.count == 2, "a locked read and a write"
            assert (
                len(
                    await connection.fetch("SELECT 1 FROM feed f JOIN messages m ON m.id = f.message WHERE m.key = 'k'")
                )
                == 1
            )
            raise _Rollback
    assert await stack.rows("SELECT 1 FROM feed f LEFT JOIN messages m ON m.id = f.message WHERE m.id IS NULL") == []


class _CountingConnection:
    """Counts the statements of a connection. The registry has read its definitions before."""

    def __init__(self, connection: Any) -> None:
        self._connection, self.count = connection, 0

    def __getattr__(self, name: str) -> Any:
        if name in {"fetch", "fetchrow", "execute"}:
            self.count += 1
        return getattr(self._connection, name)


async def test_a_resend_has_a_line_of_its_own(stack: LiveStack) -> None:
    await stack.publish(
        MAILS.replace("NAME", "one").replace("CHANNEL", "email").replace("education/first-value", "no/such")
    )
    await stack.accept(stack.identify("ada", email="ada@example.com"), stack.track("ada", "signed_up"))
    message = await stack.until("SELECT id FROM messages WHERE status = 'failed'")
    assert await resend_message(stack.database, message)
    entries = [(line["type"], line["verdict"]) for line in await whole_feed(stack)]
    assert entries[:2] == [("decision", "fail"), ("decision", "again")]


async def test_reactions_are_lines_and_no_line_contains_an_address(stack: LiveStack) -> None:
    """The feed contains neither texts nor addresses of people (A8)."""
    await stack.publish(MAILS.replace("NAME", "one").replace("CHANNEL", "email"))
    await stack.accept(
        stack.identify("ada", email="ada@example.com", first_name="Ada"), stack.track("ada", "signed_up")
    )
    await stack.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 1)
    message = (await stack.rows("SELECT id, key FROM messages"))[0]
    bounced = stack.track(
        "ada",
        "message_bounced",
        message=str(message["id"]),
        kind="hard",
        address="ada@example.com",
        reason="no ada@example.com here",
    )
    clicked = stack.track("ada", "message_clicked", message=message["key"], link=2, template="t")
    foreign = stack.track("ada", "message_clicked", message="of another installation")
    await stack.accept(bounced, clicked, foreign)
    lines = await whole_feed(stack)
    reactions = [(line["reaction"], line.get("kind"), line.get("link")) for line in lines if line["type"] == "reaction"]
    assert reactions == [("bounced", "hard", None), ("clicked", None, 2)]
    assert {line["message"]["user_id"] for line in lines} == {"ada"}
    assert "example.com" not in str(lines)
