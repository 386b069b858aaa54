"""The gate's read of a person: accounts, suppressions with reasons, and messages in doubt."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from journeys.decision.effects import WithdrawnMessages
from journeys.gate.policy import Policy
from journeys.gate.reason_codes import ReasonCode
from journeys.gate.verdicts import Reason
from store.database import execute, fetch_all, plain_url, sql
from store.locks import Lock
from store.messages.gate_read import lock_and_read
from store.messages.ledger import write_message
from store.messages.withdrawals import withdraw_queued
from store.people import subjects
from tests.support.gate_arena import add_people, new_message, open_arena

READ = "SELECT * FROM gate_reads('u_1', 'a_2', now() - interval '1 day', ARRAY['d', 'e'], now(), ARRAY['d'])"
KNOWN = """
    INSERT INTO subjects (key, kind) VALUES ('u_1', 'user');
    INSERT INTO members (account_key, person_key) VALUES ('a_1', 'u_1');
    INSERT INTO tickets (subject_key, ticket_id, opened_at, ends_at) VALUES ('a_1', '77', now(), 'infinity');
    INSERT INTO suppressions (digest, channel, reason, source, at) VALUES ('d', 'email', 'complaint', 'test', now());
    INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority, at,
      status, in_doubt, due_at, decided_at, sent_at)
    VALUES ('m', 'r', 1, 'u_1', 'u_1', 'j', 's', 1, 'a', 't', '[]', 'lifecycle', now(), 'deferred', true, now(), now(), now());
"""


@pytest_asyncio.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(plain_url(database_url))
    yield connection
    await connection.close()


async def test_the_gate_reads_the_accounts_the_reason_of_a_suppression_and_messages_in_doubt(
    db: asyncpg.Connection,
) -> None:
    await db.execute(KNOWN)
    row = await db.fetchrow(READ)
    read: dict[str, Any] = {name: json.loads(value) if isinstance(value, str) else value for name, value in row.items()}
    assert list(read) == [
        "consents",
        "sent",
        "queue",
        "urgent",
        "stopped",
        "suppressed",
        "held",
        "talks",
        "accounts",
        "refused",
    ]
    assert (read["urgent"], [message[8] for message in read["sent"]]) == (True, ["m"])
    assert sorted(read["accounts"]) == ["a_1", "a_2"]
    assert read["suppressed"] == {"d": "complaint"}


@pytest.mark.parametrize(
    ("change", "has_known_end"),
    [
        ("due_at = now()", True),
        ('reasons = \'[{"code": "cap_reached", "text": "…", "rule": "a-week"}]\'', True),
        ('reasons = \'[{"code": "cap_reached", "text": "…"}, {"code": "held", "text": "…"}]\'', False),
        ("detail = 'the provider is down'", False),
        ("in_doubt = true", False),
        ("visit = 2", False),
        ("visit = 2, stands = true", True),
    ],
)
async def test_C2_a_queued_message_has_a_known_end_if_it_is_true_and_waits_for_no_person_or_provider(
    database_url: str, change: str, *, has_known_end: bool
) -> None:
    async with open_arena(database_url, Policy()) as arena:
        (person,) = await add_people(arena, 1, 1)
        async with arena.database.transaction() as connection:
            entry = new_message(arena, person)
            entry.due_at = entry.decided_at + timedelta(hours=1)
            await write_message(connection, entry)
            await execute(connection, sql(f"UPDATE messages SET {change}"))
            now = datetime.now(UTC)
            (queued,) = (await lock_and_read(connection, person, None, now, now, {}, ())).queue
    assert (queued.key, queued.at, queued.has_known_end) == (entry.key, entry.at, has_known_end)
    assert queued.rules == (frozenset({"a-week"}) if "a-week" in change else frozenset())


async def test_C2_what_is_behind_a_withdrawn_message_is_due_at_once(database_url: str) -> None:
    async with open_arena(database_url, Policy()) as arena:
        (person,) = await add_people(arena, 1, 1)
        async with arena.database.transaction() as connection:
            await subjects.lock_subjects(connection, [person])
            ahead, behind, other = (new_message(arena, person, number) for number in (1, 2, 3))
            behind.run = other.run = ""
            codes: tuple[ReasonCode, ...] = ("cap_reached", "behind", "cap_reached")
            for entry, code in zip((ahead, behind, other), codes, strict=True):
                entry.due_at = entry.decided_at + timedelta(days=1)
                entry.reasons = (Reason(code, "…", "a-week"),)
                await write_message(connection, entry)
            left = WithdrawnMessages("a was left", datetime.now(UTC), "a", 1)
            await withdraw_queued(connection, ahead.run, left, left.at)
            due = {
                row["key"]: row["due_at"]
                for row in await fetch_all(connection, sql("SELECT key, due_at FROM messages"))
            }
    assert due == {ahead.key: None, behind.key: left.at, other.key: other.due_at}


async def test_the_gate_shares_the_lock_of_kill_switches_and_takes_those_of_mailboxes_alone(
    db: asyncpg.Connection,
) -> None:
    async with db.transaction():
        await db.execute(READ)
        held = "SELECT (classid::bigint << 32) + objid::bigint, mode FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        numbers = {(row[0], row[1]) for row in await db.fetch(held)}
        mailbox, other = await db.fetchval("SELECT address_lock('d')"), await db.fetchval("SELECT address_lock('e')")
    assert numbers == {(int(Lock.STOPS), "ShareLock"), (mailbox, "ExclusiveLock"), (other, "ShareLock")}


async def test_messages_to_an_address_are_found_by_an_index(db: asyncpg.Connection) -> None:
    await db.execute(
        """INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority,
             at, status, decided_at, sent_at, address_hash)
           SELECT 'm' || n, 'r', 1, 'u', 'u' || n % 9, 'j', 's', 1, 'a', 't', '[]', 'lifecycle', now(), 'sent', now(), now(), 'h' || n
           FROM generate_series(1, 2000) AS n"""
    )
    await db.execute("ANALYZE messages")
    plan = await db.fetch(
        """EXPLAIN SELECT * FROM messages m WHERE (m.recipient = 'u' AND m.sent_at > '-infinity'
             OR m.address_hash = ANY (ARRAY['d']) AND m.sent_at > '-infinity' AND m.clock IS NOT DISTINCT FROM NULL)
           AND (m.status IN ('sending', 'sent', 'unknown', 'merged') OR (m.status = 'deferred' AND m.in_doubt))"""
    )
    scans = "".join(line[0] for line in plan)
    assert "messages_to_address" in scans
    assert "BitmapOr" in scans


async def test_messages_that_count_for_a_cap_are_found_by_an_index(db: asyncpg.Connection) -> None:
    await db.execute("SET enable_seqscan = off")
    plan = await db.fetch(
        """EXPLAIN SELECT * FROM messages m WHERE m.recipient = 'u' AND m.sent_at > now()
           AND (m.status IN ('sending', 'sent', 'unknown', 'merged') OR (m.status = 'deferred' AND m.in_doubt))"""
    )
    assert "messages_counted" in "".join(line[0] for line in plan)
