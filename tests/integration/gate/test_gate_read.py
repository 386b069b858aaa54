"""The gate's read of a person: accounts, suppressions with reasons, and messages in doubt."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest_asyncio

from store.database import plain_url
from store.locks import Lock

READ = "SELECT * FROM gate_reads('u_1', 'a_2', now() - interval '1 day', ARRAY['d', 'e'], now(), ARRAY['d'])"
KNOWN = """
    INSERT INTO subjects (key, kind) VALUES ('u_1', 'user');
    INSERT INTO members (account_key, person_key) VALUES ('a_1', 'u_1');
    INSERT INTO tickets (subject_key, ticket_id, opened_at) VALUES ('a_1', '77', now());
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
    await db.execute("SET enable_seqscan = off")
    plan = await db.fetch(
        """EXPLAIN SELECT * FROM messages a WHERE a.address_hash = ANY (ARRAY['d']) AND a.recipient <> 'u' AND a.sent_at > now()
           AND (a.status IN ('sending', 'sent', 'unknown', 'merged') OR (a.status = 'deferred' AND a.in_doubt))"""
    )
    assert "messages_to_address" in "".join(line[0] for line in plan)


async def test_messages_that_count_for_a_cap_are_found_by_an_index(db: asyncpg.Connection) -> None:
    await db.execute("SET enable_seqscan = off")
    plan = await db.fetch(
        """EXPLAIN SELECT * FROM messages m WHERE m.recipient = 'u' AND m.sent_at > now()
           AND (m.status IN ('sending', 'sent', 'unknown', 'merged') OR (m.status = 'deferred' AND m.in_doubt))"""
    )
    assert "messages_counted" in "".join(line[0] for line in plan)
