"""Urgent tickets of a visitor and the user they turn out to be: one rule in memory and in the database (C6, U2)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

from journeys.gate.tickets import TicketTimes, merged
from journeys.simulation.people import merge_people
from journeys.simulation.subjects import SimulatedSubject
from store.database import Database, execute, fetch_all, sql
from store.events import tickets

START = datetime(2026, 1, 1, tzinfo=UTC)
CASES = [
    TicketTimes(START + timedelta(hours=opened), None if resolved is None else START + timedelta(hours=resolved))
    for opened, resolved in ((0, None), (0, 0), (0, 1), (0, 2), (1, None), (1, 1), (1, 2))
]
_PERSON = sql("INSERT INTO subjects (key, kind) VALUES (:subject, 'user')")
_TICKET = sql(
    """
    INSERT INTO tickets (subject_key, ticket_id, opened_at, resolved_at, ends_at)
    VALUES (:subject, :ticket, :opened, :resolved, :ends)
    """
)
_READ = sql("SELECT ticket_id, opened_at, resolved_at, ends_at FROM tickets WHERE subject_key = 'user'")
LONGEST = timedelta(days=30)


def test_U2_a_ticket_of_both_is_open_only_if_no_resolution_is_as_late_as_the_latest_opening() -> None:
    opened, resolved, reopened = TicketTimes(START), TicketTimes(START, START), TicketTimes(START + LONGEST)
    assert merged(opened, resolved) == merged(resolved, opened) == resolved
    assert merged(resolved, reopened) == merged(reopened, resolved) == reopened


def test_U2_the_users_resolution_holds_when_the_visitor_saw_only_an_earlier_opening() -> None:
    visitor, user = SimulatedSubject("v", "user"), SimulatedSubject("ada", "user")
    visitor.tickets = {"t": TicketTimes(START)}
    user.tickets = {"t": TicketTimes(START, START + timedelta(hours=1))}
    merge_people(visitor, user)
    assert user.tickets == {"t": TicketTimes(START, START + timedelta(hours=1))}


async def test_U2_a_merge_of_tickets_is_the_same_in_memory_and_in_the_database(database: Database) -> None:
    cases = {str(number): pair for number, pair in enumerate(product(CASES, CASES))}
    async with database.transaction() as connection:
        for subject in ("visitor", "user"):
            await execute(connection, _PERSON, subject=subject)
        for ticket, pair in cases.items():
            for subject, times in zip(("visitor", "user"), pair, strict=True):
                await execute(
                    connection, _TICKET, subject=subject, ticket=ticket, opened=times.opened_at,
                    resolved=times.resolved_at, ends=times.opened_at + LONGEST,
                )  # fmt: skip
        await tickets.move_to(connection, "visitor", "user")
        rows = await fetch_all(connection, _READ)
    stored = {row["ticket_id"]: TicketTimes(row["opened_at"], row["resolved_at"]) for row in rows}
    assert stored == {ticket: merged(*pair) for ticket, pair in cases.items()}
    assert all(row["ends_at"] == row["opened_at"] + LONGEST for row in rows)
