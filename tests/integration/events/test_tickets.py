"""Urgent tickets in the store: the later signal counts, and none is open for ever (A8)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from journeys.events.inbound import InboundEvent
from journeys.gate.tickets import UrgentTicket
from store.database import Database, execute, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.events import ingest, tickets
from store.events.tickets import oldest_open, prune_tickets

OPEN = sql("SELECT 1 FROM tickets WHERE resolved_at IS NULL AND ends_at > clock_timestamp()")

_PAST = sql(
    """
    WITH people AS (INSERT INTO subjects (key, kind) SELECT 'u_' || n, 'user' FROM generate_series(1, 5000) AS n)
    INSERT INTO tickets (subject_key, ticket_id, opened_at, resolved_at, ends_at)
    SELECT 'u_' || n, '1', now() - interval '90 days', CASE WHEN n % 2 = 0 THEN now() END, now() - interval '60 days'
    FROM generate_series(1, 5000) AS n
    """
)

_ON_CLOCK = sql(
    """
    WITH clock AS (INSERT INTO clocks (id, now, target) SELECT 'c', past, past FROM (SELECT now() - interval '39 days') AS p(past))
    UPDATE subjects SET clock = 'c'
    """
)


async def _signal(database: Database, name: str, ago: timedelta, **data: str) -> None:
    event = InboundEvent(
        "track",
        f"{name}{ago}{data}",
        name,
        user_id="ada",
        timestamp=datetime.now(UTC) - ago,
        data={"ticket_id": "7", **data},
    )
    await ingest.accept(database, DefinitionRegistry(UrgentTicket()), [event], source="test")


async def _is_open(database: Database) -> bool:
    async with database.reading() as connection:
        return bool(await fetch_all(connection, OPEN))


async def test_A8_a_ticket_whose_resolution_arrives_before_its_opening_holds_nothing(database: Database) -> None:
    await _signal(database, "ticket_resolved", timedelta(days=2))
    await _signal(database, "ticket_opened", timedelta(days=3), priority="urgent")
    assert not await _is_open(database)
    await _signal(database, "ticket_reopened", timedelta(days=1), priority="urgent")
    assert await _is_open(database)


async def test_A8_a_ticket_without_an_end_is_watched_and_ends_after_the_longest_time(database: Database) -> None:
    await _signal(database, "ticket_opened", timedelta(days=3), priority="urgent")
    async with database.transaction() as connection:
        assert timedelta(days=3) <= await oldest_open(connection) < timedelta(days=3, minutes=5)
        await execute(connection, sql("UPDATE tickets SET ends_at = clock_timestamp()"))
        assert await oldest_open(connection) == timedelta()
    assert not await _is_open(database)


async def _prune(database: Database) -> set[tuple[str, str]]:
    """The subjects and tickets that are left."""
    async with database.transaction() as connection:
        while (await prune_tickets(connection, datetime.now(UTC) - timedelta(days=30))).more:
            pass
        rows = await fetch_all(connection, sql("SELECT subject_key, ticket_id FROM tickets"))
    return {(row["subject_key"], row["ticket_id"]) for row in rows}


async def test_A8_resolutions_of_tickets_that_were_never_urgent_are_kept_for_the_longest_time_only(
    database: Database,
) -> None:
    for days in (0, 29, 31, 400):
        await _signal(database, "ticket_resolved", timedelta(days=days), ticket_id=str(days))
    assert {ticket for _, ticket in await _prune(database)} == {"0", "29"}


async def test_A8_a_ticket_is_kept_while_its_opening_or_its_resolution_may_change_something(database: Database) -> None:
    await _signal(database, "ticket_opened", timedelta(days=40), ticket_id="lost", priority="urgent")
    await _signal(database, "ticket_opened", timedelta(days=29), ticket_id="open", priority="urgent")
    await _signal(database, "ticket_opened", timedelta(days=40), ticket_id="long", priority="urgent")
    await _signal(database, "ticket_resolved", timedelta(days=20), ticket_id="long")
    assert {ticket for _, ticket in await _prune(database)} == {"open", "long"}
    await _signal(database, "ticket_opened", timedelta(days=21), ticket_id="long", priority="urgent")
    await _signal(database, "ticket_resolved", timedelta(days=1), ticket_id="open")
    assert not await _is_open(database)


async def test_A8_a_ticket_of_a_person_on_a_test_clock_is_kept_by_that_clock(database: Database) -> None:
    await _signal(database, "ticket_opened", timedelta(days=40), priority="urgent")
    async with database.transaction() as connection:
        await execute(connection, _ON_CLOCK)
    assert len(await _prune(database)) == 1
    async with database.transaction() as connection:
        await execute(connection, sql("UPDATE clocks SET now = now(), target = now()"))
    assert await _prune(database) == set()


async def test_A8_the_oldest_open_ticket_is_found_by_an_index(database: Database) -> None:
    async with database.transaction() as connection:
        await execute(connection, _PAST)
    async with database.reading() as connection:
        await connection.execute("ANALYZE tickets, subjects")
        plan = await connection.fetch(f"EXPLAIN {tickets._OLDEST.text}")
    assert "tickets_open" in "".join(row["QUERY PLAN"] for row in plan)
