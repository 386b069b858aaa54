"""Migration 0017 lets members have what the relay had not delivered to them, and the last fields of their account."""

from __future__ import annotations

import asyncpg

from journeys.decision.compiler import artifact_of, load_chart
from journeys.language.parsing import read_journey
from store.database import Database, plain_url
from tests.support.databases import migrate_to
from tests.support.members import READER, TYPES, Lanes

_OLD = """
    INSERT INTO subjects (key, kind, seq, profile, account_key) VALUES
      ('a_1', 'account', 5, '{"plan": "paid"}', NULL), ('u_1', 'user', 1, '{"role": "admin", "x": 1}', 'a_1'),
      ('u_2', 'user', 0, '{}', 'a_1');
    INSERT INTO identities (kind, value, subject_key) VALUES
      ('account_id', 'acme', 'a_1'), ('user_id', 'ada', 'u_1'), ('user_id', 'ben', 'u_2');
    INSERT INTO lanes (recipient) VALUES ('a_1'), ('u_1'), ('u_2');
    INSERT INTO runs (id, journey, definition, subject_key, epoch, lane, entered_seq, started_at)
      VALUES ('r', 'reader', '{hash}', 'u_1', 1, 'u_1', 1, now());
    INSERT INTO outbox (recipient, seq, kind, name, event_id, at, facts, delivered_at) VALUES
      ('u_1', 1, 'signal', 'signed_up', 'e', now(), '{"profile": {"role": "admin"}, "account": {"plan": "trial"}}', now()),
      ('a_1', 1, 'facts', '', 'e1', now(), '{"account": {"plan": "trial"}}', now()),
      ('a_1', 2, 'signal', 'limit_reached', 'e2', now(), '{"@personal": {}, "account": {"plan": "free"}}', now()),
      ('a_1', 3, 'facts', '', 'e3', now(), '{"account": {"plan": "paid"}}', now()),
      ('a_1', 4, 'signal', 'contract_ended', 'e4', now(), '{"account": {"plan": "paid"}}', NULL),
      ('a_1', 5, 'signal', 'limit_reached', 'e5', now(), '{"@personal": {}, "account": {"plan": "paid"}}', NULL);
"""


async def test_members_get_what_was_not_delivered_and_what_is_known_of_their_account(empty_database_url: str) -> None:
    await migrate_to(empty_database_url, "0016")
    journey, _ = read_journey(READER)
    assert journey is not None
    chart = load_chart(artifact_of(journey, TYPES))
    connection = await asyncpg.connect(plain_url(empty_database_url))
    await connection.execute(_OLD.replace("{hash}", chart.hash))
    await connection.close()
    await migrate_to(empty_database_url, "head")
    database = Database(empty_database_url)
    lanes = Lanes(database)
    await lanes.fan_out()
    copies = [(row.kind, row.name, row.account, (row.profile or {}).get("role")) for row in await lanes.copies("ada")]
    assert copies == [
        ("signal", "contract_ended", {"plan": "paid"}, "admin"),
        ("facts", "", {"plan": "paid"}, "admin"),
    ]
    assert [row.copy_of for row in await lanes.copies("ben")] == []
    assert (await lanes.subject("acme"))["behind_since"] is None
    await database.close()
