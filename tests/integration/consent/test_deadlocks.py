"""Deadlocks at one mailbox: sends, opt-outs and merges of two people at the same time have none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest

from activities.gate.evaluation import GatePass
from journeys.consent.changes import ConsentChange
from journeys.consent.precedence import StatedBy
from journeys.events.inbound import InboundEvent
from store.consent.suppressions import lock_addresses
from store.database import fetch_all, sql
from store.events.changes import change_consents
from store.events.ingest import accept
from store.people import subjects
from tests.support.gate_arena import Arena, new_message, open_arena
from tests.support.live_stack import until

ADDRESS, ROUNDS = "office@people.example", 30
PEOPLE = ("ada", "ben")
_KEYS = sql("SELECT subject_key AS key FROM identities WHERE value = ANY (:names) ORDER BY value")
_DEADLOCKS = sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
_MERGED = sql("SELECT count(*) AS n FROM subjects WHERE merged_into IS NOT NULL")
_BLOCKED = sql("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


@pytest.fixture
async def arena(database_url: str) -> AsyncIterator[Arena]:
    async with open_arena(database_url) as arena:
        yield arena


async def two_people(arena: Arena) -> list[str]:
    """The keys of two people who have one mailbox."""
    await accept(arena.database, arena.deps.catalogue, [identify(name) for name in PEOPLE], source="test")
    async with arena.database.reading() as connection:
        return [row["key"] for row in await fetch_all(connection, _KEYS, names=list(PEOPLE))]


def identify(user: str | None, visitor: str | None = None) -> InboundEvent:
    name = f"{user}/{visitor}"
    return InboundEvent(
        "identify", name, "identify", user_id=user, anonymous_id=visitor, traits={"email": ADDRESS.title()}
    )


async def send(arena: Arena, person: str, number: int) -> None:
    async with arena.database.transaction() as connection:
        subject = (await subjects.lock_subjects(connection, [person]))[person]
        gate_pass = GatePass(arena.deps, connection, subject, None, datetime.now(UTC))
        await gate_pass.add(new_message(arena, person, number))
        await gate_pass.decide()


async def state(arena: Arena, person: str, *, granted: bool | None) -> None:
    change = ConsentChange("email", "*", granted, "test", by=StatedBy.PERSON)
    await change_consents(arena.database, arena.deps.catalogue, arena.deps.policy, person, [change])


async def one_round(arena: Arena, people: list[str], number: int) -> None:
    """Both receive a message, one opts out while the other takes it back, and a visitor turns out to be each of them."""
    visitors = [identify(None, f"v-{name}-{number}") for name in PEOPLE]
    await accept(arena.database, arena.deps.catalogue, visitors, source="test")
    merges = [identify(name, f"v-{name}-{number}") for name in PEOPLE]
    await asyncio.gather(
        *(send(arena, person, number) for person in people),
        state(arena, people[number % 2], granted=False),
        state(arena, people[1 - number % 2], granted=None),
        *(accept(arena.database, arena.deps.catalogue, [merge], source="test") for merge in merges),
    )


async def deadlocks(arena: Arena) -> int:
    async with arena.database.reading() as connection:
        return int((await fetch_all(connection, _DEADLOCKS))[0]["deadlocks"])


async def test_sends_opt_outs_and_merges_of_two_people_at_one_mailbox_have_no_deadlock(arena: Arena) -> None:
    people = await two_people(arena)
    for number in range(1, ROUNDS + 1):
        await one_round(arena, people, number)
    async with arena.database.reading() as connection:
        assert (await fetch_all(connection, _MERGED))[0]["n"] == 2 * ROUNDS
    assert await deadlocks(arena) == 0


async def lock_the_other_way_round(arena: Arena, person: str, has_mailbox: asyncio.Event) -> None:
    async with arena.database.transaction() as connection:
        await lock_addresses(connection, arena.deps.catalogue.consent.addresses, [("email", ADDRESS)])
        has_mailbox.set()
        await until(lambda: is_blocked(arena), waiting_for="the gate, which waits for the mailbox")
        await subjects.lock_subjects(connection, [person])


async def is_blocked(arena: Arena) -> bool:
    async with arena.database.reading() as connection:
        return bool(await fetch_all(connection, _BLOCKED))


async def test_control_who_locks_the_mailbox_before_the_person_has_a_deadlock_with_the_gate(arena: Arena) -> None:
    person, _ = await two_people(arena)
    has_mailbox = asyncio.Event()
    other = asyncio.create_task(lock_the_other_way_round(arena, person, has_mailbox))
    await has_mailbox.wait()
    results = await asyncio.gather(send(arena, person, 1), other, return_exceptions=True)
    assert [type(result) for result in results if result is not None] == [asyncpg.DeadlockDetectedError]
    # The session that lost may report it a little later.
    await until(lambda: deadlocks(arena), waiting_for="the count of deadlocks")
