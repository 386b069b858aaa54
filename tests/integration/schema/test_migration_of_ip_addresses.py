"""Migration 0030 removes the IP addresses of events that were accepted before, and nothing else."""

from __future__ import annotations

import json

import asyncpg

from store.database import plain_url
from tests.support.databases import migrate_to

_BEFORE = """
    INSERT INTO events (source, message_id, kind, name, subject_key, at, received_at, data, context) VALUES
      ('s', '1', 'page', 'page', 'u_1', now(), now(), '{"ip": "a property"}', '{"ip": "203.0.113.7", "locale": "de"}'),
      ('s', '2', 'page', 'page', 'u_1', now(), now(), '{}', '{"ip": "203.0.113.7"}'),
      ('s', '3', 'page', 'page', 'u_1', now(), now(), '{}', NULL);
    INSERT INTO quarantine (source, message_id, name, faults, event, received_at) VALUES
      ('s', '1', '', '[]', '{"ip": "203.0.113.7", "event": "a", "context": {"ip": "203.0.113.7", "locale": "de"}}', now()),
      ('s', '2', '', '[]', '{"event": "b", "context": "ip"}', now()),
      ('s', '3', '', '[]', '{"unreadable": "{\\"x\\": \\"\\\\ud800\\", \\"ip\\": \\"203.0.113.7\\"}"}', now());
"""


async def test_addresses_of_earlier_events_are_removed(empty_database_url: str) -> None:
    await migrate_to(empty_database_url, "0029")
    connection = await asyncpg.connect(plain_url(empty_database_url))
    await connection.execute(_BEFORE)
    await migrate_to(empty_database_url, "head")
    rows = await connection.fetch("SELECT data, context FROM events ORDER BY id")
    assert [json.loads(row["context"]) if row["context"] else None for row in rows] == [{"locale": "de"}, None, None]
    assert json.loads(rows[0]["data"]) == {"ip": "a property"}
    held = [json.loads(row["event"]) for row in await connection.fetch("SELECT event FROM quarantine ORDER BY id")]
    assert held == [
        {"event": "a", "context": {"locale": "de"}},
        {"event": "b", "context": "ip"},
        {"unreadable": '{"x": "\\ud800", "ip": "removed"}'},
    ]
    await connection.close()
