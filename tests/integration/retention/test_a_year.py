"""A year of a busy company, in rows: with retention sizes are flat, and no message id is accepted twice.

It takes about 20 s of CPU: 365 days of seven kinds of rows are inserted, and each day is pruned as the loop does.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from journeys.events.inbound import InboundEvent
from store.database import Database, execute, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.events.ingest import IngestResult, accept
from store.retention.periods import RetentionPeriods
from worker.loops.retention import Retention

DAY = timedelta(days=1)
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 365
KEPT_DAYS = 30
A_DAY = 90
"""Rows of each kind a day; the days of a week differ by a half."""
PERIODS = RetentionPeriods(
    **dict.fromkeys(("events", "quarantine", "outbox", "feed", "clicks", "visitors"), KEPT_DAYS * DAY),
    message_ids=90 * DAY,
)
SOURCE = "segment:shop"
_NUMBERS = "generate_series(1, CAST(:number AS int)) AS n, LATERAL (SELECT CAST(:at AS timestamptz) + n * interval '9 minutes' AS at) t"
_NAME = "CAST(:day AS int) || '-' || n"
_DAY = [
    sql(text)
    for text in (
        f"INSERT INTO subjects (key, kind, created_at, updated_at) SELECT 'u_' || {_NAME}, 'user', t.at, t.at FROM {_NUMBERS}",
        f"INSERT INTO identities (kind, value, subject_key) SELECT 'anonymous_id', 'v-' || {_NAME}, 'u_' || {_NAME} FROM {_NUMBERS}",
        f"INSERT INTO lanes (recipient) SELECT 'u_' || {_NAME} FROM {_NUMBERS}",
        f"""INSERT INTO events (source, message_id, kind, name, subject_key, at, received_at, data)
            SELECT '{SOURCE}', 'e-' || {_NAME}, 'track', CASE WHEN n % 10 = 0 THEN 'message_clicked' ELSE 'looked' END,
                   'u_' || {_NAME}, t.at, t.at, jsonb_build_object('page', repeat('x', 400)) FROM {_NUMBERS} ORDER BY n""",
        f"""INSERT INTO feed (at, message, status, decided, attempt, event)
            SELECT t.at, 1, 'sent', false, 1, (SELECT e.id FROM events e WHERE e.source = '{SOURCE}'
              AND e.message_id = 'e-' || {_NAME} AND e.name = 'message_clicked') FROM {_NUMBERS} ORDER BY n""",
        f"""INSERT INTO quarantine (source, message_id, name, faults, event, received_at)
            SELECT '{SOURCE}', 'q-' || {_NAME}, 'unknown', '[]', jsonb_build_object('page', repeat('x', 400)), t.at
            FROM {_NUMBERS} ORDER BY n""",
        f"""INSERT INTO outbox (recipient, seq, kind, event_id, at, delivered_at)
            SELECT 'u_known', CAST(:day AS int) * 1000 + n, 'signal', 'e', t.at, t.at FROM {_NUMBERS}""",
        f"INSERT INTO clicks (message, link, first_at, last_at) SELECT {_NAME}, 1, t.at, t.at FROM {_NUMBERS}",
    )
]
TABLES = ("events", "quarantine", "outbox", "feed", "clicks", "subjects", "identities", "lanes", "message_ids")
_SIZES = sql(
    "SELECT relname, pg_total_relation_size(oid) AS bytes FROM pg_class WHERE relname = ANY(CAST(:tables AS text[]))"
)


async def rows_and_bytes(database: Database) -> dict[str, tuple[int, int]]:
    """Of each table its number of rows, and its bytes with indexes after a vacuum, as autovacuum leaves it."""
    found = {}
    async with database.reading() as connection:
        for table in TABLES:
            await connection.execute(f"VACUUM {table}")
        bytes_of = {row["relname"]: row["bytes"] for row in await fetch_all(connection, _SIZES, tables=list(TABLES))}
        for table in TABLES:
            (row,) = await connection.fetch(f"SELECT count(*) AS n FROM {table}")
            found[table] = (row["n"], bytes_of[table])
    return found


async def vacuum(database: Database) -> None:
    async with database.reading() as connection:
        for table in TABLES:
            await connection.execute(f"VACUUM {table}")


async def live_a_day(database: Database, day: int) -> None:
    """Insert the rows of a day."""
    number = A_DAY // (2 if day % 7 in {5, 6} else 1)
    async with database.transaction() as connection:
        for statement in _DAY:
            given: Mapping[str, Any] = {"number": number, "at": FIRST + day * DAY, "day": day}
            await execute(connection, statement, **{name: given[name] for name in statement.names})


async def end_of_day(database: Database, retention: Retention, now: datetime) -> None:
    """Run retention as its loop does, with the pauses after which events and marked visitors are deleted already over."""
    async with database.transaction() as connection:
        await connection.execute("UPDATE subjects SET leaving_since = leaving_since - interval '1 hour'")
    for kind in retention.kinds:
        while await retention.delete_slice(kind, now):
            if kind == "events":
                async with database.transaction() as connection:
                    await connection.execute("UPDATE retention SET kept_at = kept_at - interval '1 hour'")


async def sent_again(database: Database, message: str) -> IngestResult:
    call = InboundEvent("track", message, "looked", anonymous_id="somebody")
    return await accept(database, DefinitionRegistry(), [call], source=SOURCE)


async def test_over_a_year_sizes_are_flat_and_ids_outlive_their_events(database: Database) -> None:
    retention = Retention(database, PERIODS)
    sizes = []
    for day in range(DAYS):
        await live_a_day(database, day)
        await end_of_day(database, retention, FIRST + (day + 1) * DAY)
        if day % 7 == 6:  # autovacuum runs by the wall clock, which tells nothing of this year
            await vacuum(database)
        if day % 28 == 27:
            sizes.append(await rows_and_bytes(database))
    settled, last = sizes[6], sizes[-1]  # a hundred days after the ids have reached their period too
    for table in TABLES:
        days = 92 if table == "message_ids" else KEPT_DAYS + 2
        assert 0 < last[table][0] <= days * A_DAY, f"{table}: rows {last[table][0]}"
        assert last[table][1] <= 1.1 * settled[table][1], f"{table}: {settled[table][1]} bytes became {last[table][1]}"
    async with database.reading() as connection:
        (row,) = await connection.fetch("SELECT count(*) AS n FROM events WHERE received_at < $1", FIRST + 334 * DAY)
        assert row["n"] == 0
    for day in (280, 330, DAYS - 1):
        assert (await sent_again(database, f"e-{day}-1")).duplicates == 1, f"an id of day {day}"
    assert (await sent_again(database, "e-3-1")).accepted == 1, "its own period is over"


async def test_without_settings_everything_is_kept(database: Database) -> None:
    retention = Retention(database, RetentionPeriods())
    for day in range(40):
        await live_a_day(database, day)
    await end_of_day(database, retention, FIRST + 400 * DAY)
    rows = {table: number for table, (number, _) in (await rows_and_bytes(database)).items()}
    assert rows.pop("outbox") == 0
    assert rows.pop("message_ids") == 0
    assert len(set(rows.values())) == 1, rows
