"""No statement of the store reads a large table from its beginning to its end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from benchmarks.stack.crowd import CROWD
from store.database import plain_url
from store.outbox import claims
from store.outbox.rows import LEAST_URGENCY
from tests.integration.schema.test_statements import statements

PEOPLE = 20_000
LARGE = 1_000
"""Rows from which a table is large."""
ALLOWED = {
    "store.clocks.decided._DECISIONS": "compares a live run with the simulator: the demonstration and tests call it",
    "store.clocks.decided._VERDICTS": "as _DECISIONS",
    "store.exports.audiences._PENDING": "compares one audience with a tool, so it reads this audience",
    "store.retention.": "deletes in slices, in the background; the plan does not know the length of a slice",
    "store.operations.counts._RUNS": "counts all open runs, once a minute at most and in a twentieth of the time",
    "store.reads.content_usage._USES": "counts all messages by template, once a minute at most in a process",
    "store.reads.demonstration.": "the demonstration reads the database that it has filled",
    "store.reads.rehearsal.": "rehearsals read the database of one test",
}
"""Names of statements, or beginnings of names, that may read a whole table, each with the reason."""
FEW_ROWS = {
    "store.consent.in_flight.": "messages of one person",
    "store.messages.due.": "messages of one person",
    "store.operations.reconciliation._OPEN": "a page by id; overdue runs have a page of their own",
    "store.outbox.claims.": "one lane by its key",
}
"""Statements that compare `clock_timestamp()` with few rows, each with the reason. It is volatile: no index compares with it."""


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def crowded(module_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A database with a crowd. Plans are generic, as those of a statement that a connection has executed five times."""
    connection = await asyncpg.connect(plain_url(module_database_url), statement_cache_size=0)
    for statement in CROWD.values():
        await connection.execute(statement.text, 1, PEOPLE)
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    yield connection
    await connection.close()


async def plan_of(connection: asyncpg.Connection, text: str) -> dict[str, Any]:
    await connection.execute(f"PREPARE explained AS {text}")
    try:
        count = len((await connection.fetchval("SELECT parameter_types FROM pg_prepared_statements")) or ())
        given = f"({', '.join(['NULL'] * count)})" if count else ""
        explained = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE explained{given}"))
        return explained[0]["Plan"]  # type: ignore[no-any-return]
    finally:
        await connection.execute("DEALLOCATE explained")


async def large_tables(connection: asyncpg.Connection) -> set[str]:
    rows = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND reltuples > $1",
        LARGE,
    )
    return {row["relname"] for row in rows}


def whole_reads(plan: dict[str, Any], large: set[str]) -> list[str]:
    return sorted(
        f"{node['Relation Name']}: {node.get('Filter', 'all rows')}"
        for node in nodes(plan)
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in large
    )


def volatile_reads(plan: dict[str, Any], large: set[str]) -> list[str]:
    return sorted(
        f"{node['Relation Name']}: {node['Filter']}"
        for node in nodes(plan)
        if node.get("Relation Name") in large and "clock_timestamp()" in node.get("Filter", "")
    )


async def test_no_condition_of_a_large_table_compares_with_a_volatile_instant(crowded: asyncpg.Connection) -> None:
    large = await large_tables(crowded)
    found = {name: volatile_reads(await plan_of(crowded, statement.text), large) for name, statement in statements()}
    assert {name: reads for name, reads in found.items() if reads and not name.startswith(tuple(FEW_ROWS))} == {}


async def test_no_statement_reads_a_whole_large_table(crowded: asyncpg.Connection) -> None:
    large = await large_tables(crowded)
    assert {"events", "identities", "lanes", "messages", "outbox", "runs", "subjects", "tasks", "timeline"} <= large
    found = {name: whole_reads(await plan_of(crowded, statement.text), large) for name, statement in statements()}
    guilty = {name: reads for name, reads in found.items() if reads}
    assert {name: reads for name, reads in guilty.items() if not name.startswith(tuple(ALLOWED))} == {}
    unused = [allowed for allowed in ALLOWED if not any(name.startswith(allowed) for name in guilty)]
    assert unused == [], "these read no whole table any more"


EMPTY = {"_WAITING": False, "_RESTED": False, "_ROWS": True, "_DELIVERED": True, "_REST": True, "_MARK": True}
"""Statements of a claim, and whether they follow it in its transaction."""


@pytest.mark.parametrize("name", sorted(EMPTY))
async def test_a_claim_prepared_while_the_tables_are_empty_reads_none_whole(database_url: str, name: str) -> None:
    """A relay that starts with a new installation keeps such plans while its first thousands of events arrive."""
    connection = await asyncpg.connect(plain_url(database_url), statement_cache_size=0)
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    async with connection.transaction():
        if EMPTY[name]:
            await connection.execute("INSERT INTO lanes (recipient) VALUES ('u_1')")
            await connection.execute(
                "INSERT INTO outbox (recipient, seq, kind, event_id, at) VALUES ('u_1', 1, 'signal', 'e', now())"
            )
            assert list(await claims.claim_lanes(connection, LEAST_URGENCY, 64, 32)) == ["u_1"]
        plan = await plan_of(connection, getattr(claims, name).text)
    await connection.close()
    assert whole_reads(plan, {"outbox", "lanes", "subjects"}) == []


@pytest.mark.parametrize(
    "text", ["SELECT count(*) FROM runs WHERE state = 'x'", "UPDATE tasks SET why = $1 WHERE data = $2"]
)
async def test_a_statement_without_an_index_is_found(crowded: asyncpg.Connection, text: str) -> None:
    assert whole_reads(await plan_of(crowded, text), await large_tables(crowded))


async def test_a_volatile_condition_is_found(crowded: asyncpg.Connection) -> None:
    text = "SELECT id FROM runs WHERE status = 'open' AND next_due_at < clock_timestamp()"
    large = await large_tables(crowded)
    assert volatile_reads(await plan_of(crowded, text), large)
    assert not volatile_reads(await plan_of(crowded, text.replace("clock_", "statement_")), large)
