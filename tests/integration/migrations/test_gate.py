"""What the gate reads is whole before its revision, after it, and after the way back; who still reads the old shape can."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.migrations.test_tasks import connected, revise

READ = "SELECT * FROM gate_reads('u_1', 'a_2', now() - interval '1 day', ARRAY['d'], now())"
KNOWN = """
    INSERT INTO subjects (key, kind) VALUES ('u_1', 'user');
    INSERT INTO members (account_key, person_key) VALUES ('a_1', 'u_1');
    INSERT INTO tickets (subject_key, ticket_id, opened_at) VALUES ('a_1', '77', now());
    INSERT INTO suppressions (digest, channel, reason, source, at) VALUES ('d', 'email', 'complaint', 'test', now());
    INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority, at,
      status, in_doubt, due_at, decided_at, sent_at)
    VALUES ('m', 'r', 1, 'u_1', 'u_1', 'j', 's', 1, 'a', 't', '[]', 'lifecycle', now(), 'deferred', true, now(), now(), now());
"""


async def read(url: str) -> dict[str, Any]:
    db = await connected(url)
    (found,) = await db.fetch(READ)
    await db.close()
    return {name: json.loads(value) if isinstance(value, str) else value for name, value in dict(found).items()}


async def test_the_gate_learns_of_every_account_of_why_and_of_doubt_and_the_way_back_leads_back(
    empty_database_url: str,
) -> None:
    await revise(empty_database_url, "0013")
    db = await connected(empty_database_url)
    await db.execute(KNOWN)
    await db.close()
    before = await read(empty_database_url)
    assert (before["urgent"], before["sent"], before["suppressed"]) == (False, None, ["d"])
    await revise(empty_database_url, "0014")
    after = await read(empty_database_url)
    assert list(after) == [*before, "accounts"]
    assert (after["urgent"], [each[8] for each in after["sent"]]) == (True, ["m"])
    assert sorted(after["accounts"]) == ["a_1", "a_2"]
    assert after["suppressed"] == {"d": "complaint"}
    assert list(after["suppressed"]) == before["suppressed"], "a worker of before reads it as the list that it was"
    await revise(empty_database_url, "0013", back=True)
    assert await read(empty_database_url) == before
    await revise(empty_database_url, "0014")
    assert await read(empty_database_url) == after


async def test_what_counts_is_found_by_an_index_also_where_it_is_in_doubt(empty_database_url: str) -> None:
    await revise(empty_database_url, "0014")
    db = await connected(empty_database_url)
    await db.execute("SET enable_seqscan = off")
    plan = await db.fetch(
        """EXPLAIN SELECT * FROM messages m WHERE m.recipient = 'u' AND m.sent_at > now()
           AND (m.status IN ('sending', 'sent', 'unknown', 'merged') OR (m.status = 'deferred' AND m.in_doubt))"""
    )
    await db.close()
    assert "messages_counted" in "".join(line[0] for line in plan)
