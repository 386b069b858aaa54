"""The feed on real Postgres and real runs: the whole ledger, in order, whoever commits late."""

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
from tests.support.live_stack import Living, certain, living, until
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
    """What is certain hangs on the oldest transaction of all of PostgreSQL: another test's may be a minute old."""
    return databases_of_own_server


@pytest_asyncio.fixture
async def deps(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[Living]:
    catalog = tmp_path / "catalog"
    shutil.copytree(ROOT / "catalog", catalog)
    (catalog / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    (catalog / "consent.yaml").unlink()
    async with living(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as found:
        yield found


async def everything(deps: Living, page: int = 7, *, wait: bool = True) -> list[dict[str, Any]]:
    """The whole feed, page by page, as a loader reads it; as soon as it is certain, unless told not to `wait`."""
    if wait:
        await certain(deps.database)
    horizon, after = feed.Horizon(), 0
    found: list[dict[str, Any]] = []
    while True:
        upto = await horizon.look(deps.database, wanted=after)
        async with deps.database.reading() as connection:
            lines = await feed.read_lines(connection, after, upto, page)
        if not lines:
            return found
        found += lines
        after = lines[-1]["id"]


async def test_the_feed_is_the_ledger_after_a_random_run(deps: Living) -> None:
    dice = random.Random(4)
    for n in range(6):
        await deps.publish(MAILS.replace("NAME", f"j{n}").replace("CHANNEL", dice.choice(["email", "in_app"])))
    people = [f"p{n}" for n in range(5)]
    for person in people:
        await deps.accept(deps.identify(person, **({"email": f"{person}@example.com"} if person != "p4" else {})))
    for _ in range(30):
        await deps.accept(
            deps.track(dice.choice(people), dice.choice(["signed_up", "signed_up", "done", "account_closed"]))
        )
    await deps.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL AND kind <> 'wake'", lambda n: n == 0)
    await deps.until("SELECT count(*) FROM messages WHERE status = 'sending'", lambda n: n == 0)
    await until(lambda: _agrees(deps), what="the feed is not the ledger")


async def _agrees(deps: Living) -> bool:
    """Folded by message, the feed has every row's status, attempts and end; nothing else, and nothing twice."""
    lines = await everything(deps)
    rows = await deps.rows("SELECT id, key, status, attempts, journey, recipient, channel FROM messages ORDER BY id")
    if len(lines) != (await deps.rows("SELECT count(*) AS n FROM feed"))[0]["n"]:
        return False
    assert len({line["id"] for line in lines}) == len(lines)
    by_message = defaultdict(list)
    for line in lines:
        by_message[line["message"]["id"]].append(line)
    assert by_message.keys() == {row["id"] for row in rows}
    for row in rows:
        told = by_message[row["id"]]
        if told[-1]["message"]["status"] != row["status"]:
            return False  # it has moved on since the feed was read
        assert [told[-1]["message"][name] for name in ("key", "journey", "recipient")] == [
            row["key"],
            row["journey"],
            row["recipient"],
        ]
        assert told[0]["type"] == "decision"
        begun = [line["attempt"] for line in told if line.get("verdict") == "send"]
        assert begun == list(range(1, row["attempts"] + 1))
        if row["status"] in ENDS:
            assert (told[-1].get("verdict") or told[-1]["result"]) in ENDS[row["status"]]
        elif row["channel"] == "email" and row["status"] == "sent":
            assert (told[-1]["type"], told[-1]["result"]) == ("delivery", "sent")
    return bool(rows)


class _Undone(Exception):
    """Rolls a transaction back."""


async def _message(deps: Living, connection: Any, key: str) -> None:
    await execute(connection, sql(_INSERT), key=key)


_INSERT = """
    INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority,
      at, status, decided_at)
    VALUES (:key, 'r', 1, 'u', 'u', 'j', 's', 1, 'a', 't', '[]', 'lifecycle', now(), 'withheld', clock_timestamp())
"""


async def test_what_commits_late_is_never_skipped_and_comes_in_its_place(deps: Living) -> None:
    horizon = feed.Horizon()
    async with deps.database.transaction() as late:
        await _message(deps, late, "late")
        async with deps.database.transaction() as early:
            await _message(deps, early, "early")
        assert len(await deps.rows("SELECT 1 FROM feed")) == 1, "the later number is visible already"
        assert await horizon.look(deps.database) == 0, "and is not told, because an earlier one may still come"
        assert await everything(deps, wait=False) == []
    assert [line["message"]["key"] for line in await everything(deps)] == ["late", "early"]
    assert await horizon.look(deps.database) == (await everything(deps))[-1]["id"]


async def test_what_is_rolled_back_holds_nobody_up(deps: Living) -> None:
    with contextlib.suppress(_Undone):
        async with deps.database.transaction() as gone:
            await _message(deps, gone, "gone")
            raise _Undone
    async with deps.database.transaction() as connection:
        await _message(deps, connection, "kept")
    assert [line["message"]["key"] for line in await everything(deps)] == ["kept"]


async def test_a_transaction_that_was_begun_before_and_writes_after_keeps_its_own_order(deps: Living) -> None:
    """Its transaction number is the lower one, its line the later: of one message the order is that of what happened."""
    async with deps.database.transaction() as connection:
        await _message(deps, connection, "m")
    async with deps.database.transaction() as old:
        await old.fetch("SELECT pg_current_xact_id()")
        async with deps.database.transaction() as young:
            await execute(young, sql("UPDATE messages SET status = 'deferred' WHERE key = 'm'"))
        await execute(old, sql("UPDATE messages SET status = 'replaced' WHERE key = 'm'"))
    assert [line["message"]["status"] for line in await everything(deps)] == ["withheld", "deferred", "replaced"]


async def test_many_writers_and_a_reader_that_never_stops_lose_nothing(deps: Living) -> None:
    dice, done = random.Random(7), asyncio.Event()
    horizon, read = feed.Horizon(), list[int]()

    async def write(n: int) -> None:
        async with deps.database.transaction() as connection:
            await _message(deps, connection, f"w{n}")
            await asyncio.sleep(dice.random() * 0.03)

    async def loader() -> None:
        while True:
            last = done.is_set()
            upto = await horizon.look(deps.database, wanted=read[-1] if read else 0)
            async with deps.database.reading() as connection:
                lines = await feed.read_lines(connection, read[-1] if read else 0, upto, 50)
            read.extend(line["id"] for line in lines)
            if last and not lines:
                return

    reading = asyncio.create_task(loader())
    for _ in range(20):
        await asyncio.gather(*(write(n) for n in dice.sample(range(10**9), 12)))
    done.set()
    await reading
    assert read == [row["id"] for row in await deps.rows("SELECT id FROM feed ORDER BY id")]
    assert len(read) == 240


async def test_the_gate_costs_no_statement_more_and_its_line_is_in_its_own_transaction(deps: Living) -> None:
    await deps.publish(MAILS.replace("NAME", "one").replace("CHANNEL", "email"))
    await deps.accept(deps.identify("ada", email="ada@example.com"), deps.track("ada", "signed_up"))
    await deps.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 1)
    row = (await deps.rows("SELECT run, recipient FROM messages"))[0]
    with contextlib.suppress(_Undone):
        async with deps.database.transaction() as connection:
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
            counted = _Counting(connection)
            gate_pass = evaluation.GatePass(deps.deps, counted, person, None, now)
            await gate_pass.add(entry)
            await gate_pass.decide()
            assert counted.count == 2, "a locked read and a write"
            assert (
                len(
                    await connection.fetch("SELECT 1 FROM feed f JOIN messages m ON m.id = f.message WHERE m.key = 'k'")
                )
                == 1
            )
            raise _Undone
    assert await deps.rows("SELECT 1 FROM feed f LEFT JOIN messages m ON m.id = f.message WHERE m.id IS NULL") == []


class _Counting:
    """A connection that counts what goes over it; what the catalogue asks is read before."""

    def __init__(self, connection: Any) -> None:
        self._connection, self.count = connection, 0

    def __getattr__(self, name: str) -> Any:
        if name in {"fetch", "fetchrow", "execute"}:
            self.count += 1
        return getattr(self._connection, name)


async def test_what_is_sent_again_by_hand_is_told_as_such(deps: Living) -> None:
    await deps.publish(
        MAILS.replace("NAME", "one").replace("CHANNEL", "email").replace("education/first-value", "no/such")
    )
    await deps.accept(deps.identify("ada", email="ada@example.com"), deps.track("ada", "signed_up"))
    message = await deps.until("SELECT id FROM messages WHERE status = 'failed'")
    assert await resend_message(deps.database, message)
    told = [(line["type"], line["verdict"]) for line in await everything(deps)]
    assert told[:2] == [("decision", "fail"), ("decision", "again")]


async def test_reactions_are_lines_too_and_nothing_personal_is_in_any(deps: Living) -> None:
    """A8: what people write and where they are reached stays here."""
    await deps.publish(MAILS.replace("NAME", "one").replace("CHANNEL", "email"))
    await deps.accept(deps.identify("ada", email="ada@example.com", first_name="Ada"), deps.track("ada", "signed_up"))
    await deps.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 1)
    message = (await deps.rows("SELECT id, key FROM messages"))[0]
    bounced = deps.track(
        "ada",
        "message_bounced",
        message=str(message["id"]),
        kind="hard",
        address="ada@example.com",
        reason="no ada@example.com here",
    )
    clicked = deps.track("ada", "message_clicked", message=message["key"], link=2, template="t")
    foreign = deps.track("ada", "message_clicked", message="of another house")
    await deps.accept(bounced, clicked, foreign)
    lines = await everything(deps)
    reactions = [(line["reaction"], line.get("kind"), line.get("link")) for line in lines if line["type"] == "reaction"]
    assert reactions == [("bounced", "hard", None), ("clicked", None, 2)]
    assert {line["message"]["user_id"] for line in lines} == {"ada"}
    assert "example.com" not in str(lines)
