"""Crowd: rows of people who wait, inserted into PostgreSQL without workflows.

Twenty people are in an account. Each person has a lane and an open run with its history: an event, timeline lines,
messages, an inbox item, consents. One in ten has a timer that is due tomorrow, one in twenty an open task.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from store.database import Connection, execute, sql

_PEOPLE: Final = "FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n"
_STATEMENTS: Final = {
    "subjects": f"""
        INSERT INTO subjects (key, kind, seq, account_key)
        SELECT 'u_c' || n, 'user', 1, 'a_c' || n / 20 {_PEOPLE} UNION ALL SELECT DISTINCT 'a_c' || n / 20, 'account', 0, NULL {_PEOPLE}
        ON CONFLICT DO NOTHING
    """,
    "identities": f"INSERT INTO identities (kind, value, subject_key) SELECT 'user_id', 'c' || n, 'u_c' || n {_PEOPLE}",
    "members": f"INSERT INTO members (account_key, person_key) SELECT 'a_c' || n / 20, 'u_c' || n {_PEOPLE}",
    "lanes": f"""
        INSERT INTO lanes (recipient) SELECT 'u_c' || n {_PEOPLE} UNION ALL SELECT DISTINCT 'a_c' || n / 20 {_PEOPLE}
        ON CONFLICT DO NOTHING
    """,
    "runs": f"""
        INSERT INTO runs (id, journey, definition, subject_key, epoch, lane, entered_seq, state, visit, started_at, entered_at, next_due_at, step)
        SELECT 'journey/daily/u_c' || n || '/-/1', 'daily', coalesce((SELECT hash FROM journeys WHERE key = 'daily'), 'none'),
          'u_c' || n, 1, 'u_c' || n, 1, 'living', 1, now(), now(), CASE WHEN n % 10 = 0 THEN now() + interval '1 day' END, 1 {_PEOPLE}
    """,
    "timeline": f"""
        INSERT INTO timeline (run, step, n, at, kind, about, text)
        SELECT 'journey/daily/u_c' || n || '/-/1', 1, line, now(), 'entered', 'living', 'entered living' {_PEOPLE}
        CROSS JOIN generate_series(1, 2) AS line
    """,
    "events": f"""
        INSERT INTO events (source, message_id, kind, name, subject_key, at, received_at, data)
        SELECT 'crowd', 'crowd-' || n, 'track', 'page_viewed', 'u_c' || n, now(), now(), '{{}}' {_PEOPLE}
    """,
    "outbox": f"""
        INSERT INTO outbox (recipient, seq, kind, event_id, name, at, delivered_at)
        SELECT 'u_c' || n, 1, 'signal', 'crowd-' || n, 'habit_begun', now(), now() {_PEOPLE}
    """,
    "messages": f"""
        INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority, at,
          status, channel, due_at, decided_at, sent_at, reference, address)
        SELECT 'journey/daily/u_c' || n || '/-/1@1#' || part, 'journey/daily/u_c' || n || '/-/1', 1, 'u_c' || n, 'u_c' || n,
          'daily', 'living', 1, 'tip', 'education/first-value', '["email"]', 'lifecycle', now(),
          CASE WHEN part = 1 AND n % 50 = 0 THEN 'deferred' WHEN part = 1 AND n % 18 = 1 THEN 'failed' ELSE 'sent' END,
          'email', CASE WHEN part = 1 AND n % 50 = 0 THEN now() + interval '1 day' END, now(), now() - part * interval '1 day',
          'r' || part || '-' || n, 'c' || n || '@example.com' {_PEOPLE} CROSS JOIN generate_series(1, 2) AS part
    """,
    "inbox": f"INSERT INTO inbox (key, recipient, content, created_at) SELECT 'crowd-' || n, 'u_c' || n, '{{}}', now() {_PEOPLE}",
    "consents": f"""
        INSERT INTO consents (subject_key, channel, topic, granted, source, at)
        SELECT 'u_c' || n, 'email', 'offers', n % 3 > 0, 'form', now() {_PEOPLE}
    """,
    "consent_log": f"""
        INSERT INTO consent_log (subject_key, channel, topic, granted, source, at)
        SELECT 'u_c' || n, 'email', 'offers', n % 3 > 0, 'form', now() {_PEOPLE}
    """,
    "tasks": f"""
        INSERT INTO tasks (key, run, subject_key, journey, action, task, reason, scope_key, owner, opened_at, due_at, status)
        SELECT 'task-' || n, 'journey/daily/u_c' || n || '/-/1', 'u_c' || n, 'daily', 'call', 'call', 'call', 'u_c' || n,
          (ARRAY['ada', 'ben', 'eve', 'joe', 'kim'])[1 + n % 5], now(), now() + interval '1 day',
          CASE WHEN n % 20 = 0 THEN 'open' ELSE 'closed' END {_PEOPLE} WHERE n % 2 = 0
    """,
    "task_asks": f"""
        INSERT INTO task_asks (key, task_id, run, action, status, asked_at)
        SELECT key, id, run, action, status, opened_at {_PEOPLE} JOIN tasks ON tasks.key = 'task-' || n
    """,
    "task_log": f"""
        INSERT INTO task_log (task_id, at, kind, by, text)
        SELECT id, opened_at, 'opened', 'tenure', 'opened' {_PEOPLE} JOIN tasks ON tasks.key = 'task-' || n
    """,
    "audiences": f"""
        INSERT INTO audiences (audience, subject_key, changed_at, member) SELECT 'lapsed', 'u_c' || n, now(), true {_PEOPLE}
    """,
    "clicks": f"INSERT INTO clicks (message, link, first_at, last_at) SELECT 'crowd-' || n, 1, now(), now() {_PEOPLE}",
}
CROWD: Final = {table: sql(statement) for table, statement in _STATEMENTS.items()}
"""By table, the statement that inserts the rows of the people `first` to `last`."""


LIVE_RUNS: Final = ("subjects", "identities", "members", "lanes", "runs")
"""The tables of people with open runs, without the history of these runs."""


async def insert_crowd(connection: Connection, first: int, last: int, tables: Iterable[str] = CROWD) -> None:
    """Insert the rows of these people in these tables of `CROWD`."""
    for table in tables:
        await execute(connection, CROWD[table], first=first, last=last)


async def settle_tables(connection: Connection) -> None:
    """Vacuum and checkpoint, so that neither falls into measured time. Not in a transaction."""
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("CHECKPOINT")
