"""Reset of the databases of tests: the next test finds what it would find in a new clone."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from store.database import plain_url
from tests.support.databases import Databases

CONTENT = """
    SELECT relname, pg_relation_size(oid) AS bytes FROM pg_class
    WHERE relnamespace = CAST('public' AS regnamespace) AND relkind = 'r' AND pg_relation_size(oid) > 0 ORDER BY 1
"""
SEQUENCES = "SELECT sequencename FROM pg_sequences WHERE last_value IS NOT NULL"
USE = """
    INSERT INTO subjects (key, kind) VALUES ('u_1', 'user');
    INSERT INTO clocks (id, now, target) VALUES ('c', now(), now());
    INSERT INTO stops (scope, why, by) VALUES ('all', 'a test', 'a test');
    DELETE FROM stops;
    UPDATE retention SET kept_at = now();
    DELETE FROM retention WHERE kind = 'feed'
"""


async def content(url: str) -> dict[str, Any]:
    """The tables with pages, the rows of those that the schema fills, and the sequences that have moved."""
    connection = await asyncpg.connect(plain_url(url))
    try:
        tables = {row["relname"]: row["bytes"] for row in await connection.fetch(CONTENT)}
        return {
            "tables": tables,
            "rows": {name: await connection.fetch(f"SELECT t::text FROM {name} AS t ORDER BY 1") for name in tables},
            "sequences": await connection.fetch(SEQUENCES),
        }
    finally:
        await connection.close()


async def executed(url: str, statements: str) -> None:
    connection = await asyncpg.connect(plain_url(url))
    await connection.execute(statements)
    await connection.close()


async def test_a_used_database_is_as_new_for_the_next_test(databases: Databases) -> None:
    async with databases.migrated() as one, databases.migrated() as other:
        before = await content(other)
        await executed(one, USE)
        open_session = await asyncpg.connect(plain_url(one))
        await open_session.execute("BEGIN; SELECT pg_advisory_xact_lock(1)")
    assert open_session.is_closed() or await ended(open_session)
    async with databases.migrated() as again:
        assert again == one
        assert await content(again) == before


async def ended(session: asyncpg.Connection) -> bool:
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await session.execute("SELECT 1")
    return True


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE another (n int)",
        "ALTER TABLE subjects ADD another int",
        "ALTER TABLE subjects DROP COLUMN kind CASCADE",
        "CREATE INDEX another ON subjects (kind)",
        "CREATE FUNCTION another() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER FUNCTION gate_reads RENAME TO gate_reads_away",
        "ALTER TABLE messages DISABLE TRIGGER ALL",
        "ALTER TABLE subjects SET (fillfactor = 50)",
        "ANALYZE retention",
        "DROP TABLE retention",
    ],
)
async def test_a_database_with_another_schema_is_not_used_again(databases: Databases, change: str) -> None:
    async with databases.migrated() as changed:
        await executed(changed, change)
    async with databases.migrated() as following:
        assert following != changed
