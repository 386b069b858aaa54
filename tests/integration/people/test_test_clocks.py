"""The now of a test clock in SQL and Python, and refusals while it advances."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Text, bindparam, select

from journeys.events.inbound import InboundEvent
from store.clocks import control
from store.clocks.groups import connected, read_groups
from store.database import Connection, Database, execute, fetch_all, fetch_one, sql
from store.definitions.registry import DefinitionRegistry
from store.errors import ClockAdvancing
from store.events.ingest import accept
from store.people.test_clocks import ClockStatus, now_by_clock, now_for, now_from_outside, read_clock
from store.schema import clocks
from store.schema.base import Timestamp

ORIGIN = datetime(2026, 1, 1, tzinfo=UTC)
REAL = datetime(2026, 6, 1, 12, tzinfo=UTC)
_row = select(bindparam("clock", type_=Text).label("clock")).subquery("row")
_NOW = sql(
    select(now_by_clock(bindparam("real", type_=Timestamp)).label("now")).select_from(
        _row.outerjoin(clocks, clocks.c.id == _row.c.clock)
    )
)


async def _created(database: Database, *names: str) -> None:
    async with database.transaction() as connection:
        for name in names:
            await control.create_clock(connection, name, ORIGIN)


async def _advanced(connection: Connection, days: int) -> None:
    await control.advance_clock(connection, "demo", ORIGIN + timedelta(days=days))


async def test_sql_and_python_read_the_instant_at_which_a_clock_stands(database: Database) -> None:
    await _created(database, "demo")
    async with database.transaction() as connection:
        row = await fetch_one(connection, _NOW, clock="demo", real=REAL)
        assert row is not None
        assert row["now"] == await now_for(connection, "demo") == await now_from_outside(connection, "demo") == ORIGIN


@pytest.mark.parametrize("name", [None, "nobody-made-it"])
async def test_the_real_instant_is_used_without_a_test_clock(database: Database, name: str | None) -> None:
    async with database.transaction() as connection:
        row = await fetch_one(connection, _NOW, clock=name, real=REAL)
        now, outside = await now_for(connection, name), await now_from_outside(connection, name)
    assert row is not None
    assert row["now"] == REAL
    assert datetime.now(UTC) - min(now, outside) < timedelta(minutes=1)


async def test_a_clock_moves_to_its_target_and_never_back(database: Database) -> None:
    await _created(database, "demo")
    async with database.transaction() as connection:
        await _advanced(connection, 10)
        clock = await read_clock(connection, "demo")
        assert clock is not None
        assert (clock.now, clock.target, clock.status) == (ORIGIN, ORIGIN + timedelta(days=10), ClockStatus.ADVANCING)
        await control.move_clock(connection, clock, ORIGIN + timedelta(days=4))
        for instant in (ORIGIN + timedelta(days=5), ORIGIN + timedelta(days=11)):
            with pytest.raises(control.ClockMoved):
                await control.move_clock(connection, clock, instant)
        await control.mark_ready(connection, "demo")
        moved = await read_clock(connection, "demo")
        assert moved is not None
        assert moved.status is ClockStatus.ADVANCING, "it is not at its target yet"
        await control.move_clock(connection, moved, ORIGIN + timedelta(days=10))
        await control.mark_ready(connection, "demo")
        with pytest.raises(control.ClockGoesBack):
            await _advanced(connection, 9)
        await _advanced(connection, 10)


async def test_what_comes_from_outside_keeps_the_clock_standing_until_its_commit(database: Database) -> None:
    await _created(database, "demo")

    async def advance() -> None:
        async with database.transaction() as connection:
            await _advanced(connection, 1)

    async with database.transaction() as first, database.transaction() as second:
        await now_from_outside(first, "demo")
        advancing = asyncio.create_task(advance())
        await asyncio.wait([advancing], timeout=0.2)
        assert not advancing.done()
        await now_from_outside(second, "demo")  # two senders do not wait for each other
    await advancing
    async with database.transaction() as connection:
        with pytest.raises(ClockAdvancing, match="demo advances to 2026-01-02"):
            await now_from_outside(connection, "demo")
        assert await now_for(connection, "demo") == ORIGIN, "what Tenure does itself goes on"


async def _send(database: Database, *calls: InboundEvent, clock: str | None = None) -> tuple[int, int]:
    result = await accept(database, DefinitionRegistry(), calls, source="test", clock=clock)
    return result.accepted, result.quarantined


def _group(number: int, user: str, account: str) -> InboundEvent:
    return InboundEvent("group", f"m{number}", "group", user_id=user, account_id=account)


async def _clocks_of(database: Database) -> dict[str, str | None]:
    async with database.reading() as connection:
        rows = await fetch_all(
            connection,
            sql("SELECT i.value, s.clock FROM identities i JOIN subjects s ON s.key = i.subject_key"),
        )
    return {row["value"]: row["clock"] for row in rows}


async def test_who_is_new_lives_by_the_clock_of_whom_the_same_event_names(database: Database) -> None:
    await _created(database, "demo")
    await _send(database, InboundEvent("identify", "m0", "identify", user_id="ada"), clock="demo")
    await _send(database, _group(1, "ada", "acme"))
    await _send(database, _group(2, "ben", "acme"), InboundEvent("identify", "m3", "identify", user_id="cyd"))
    assert await _clocks_of(database) == {"ada": "demo", "acme": "demo", "ben": "demo", "cyd": None}


async def test_nobody_joins_an_account_across_clocks(database: Database) -> None:
    await _created(database, "demo", "other")
    for number, (user, clock) in enumerate({"ada": "demo", "ben": "other", "cyd": None}.items()):
        await _send(database, InboundEvent("identify", f"i{number}", "identify", user_id=user), clock=clock)
    assert await _send(database, _group(1, "ada", "acme")) == (1, 0)
    assert await _send(database, _group(2, "ben", "acme"), _group(3, "cyd", "acme"), _group(4, "ada", "acme")) == (1, 2)
    assert await _send(database, _group(2, "ben", "acme")) == (0, 0), "sent again, it is held once"
    async with database.reading() as connection:
        held = await fetch_all(connection, sql("SELECT message_id, faults FROM quarantine ORDER BY id"))
        members = await fetch_all(connection, sql("SELECT DISTINCT person_key FROM members"))
    assert [row["message_id"] for row in held] == ["m2", "m3"]
    assert "the test clock demo and the test clock other" in held[0]["faults"]
    assert "the real clock and the test clock demo" in held[1]["faults"]
    assert len(members) == 1


async def test_nobody_is_merged_across_clocks(database: Database) -> None:
    await _created(database, "demo")
    await _send(database, InboundEvent("identify", "v", "identify", anonymous_id="visitor"), clock="demo")
    await _send(database, InboundEvent("identify", "u", "identify", user_id="ada"))
    both = InboundEvent("identify", "b", "identify", user_id="ada", anonymous_id="visitor")
    alias = InboundEvent("alias", "a", "alias", user_id="ada", previous_id="visitor")
    assert await _send(database, both, alias) == (0, 2)
    async with database.reading() as connection:
        merged = await fetch_all(connection, sql("SELECT 1 FROM subjects WHERE merged_into IS NOT NULL"))
    assert merged == []


async def test_an_event_on_a_clock_is_never_after_its_now_however_little_it_matters(database: Database) -> None:
    await _created(database, "demo")
    call = InboundEvent("page", "p", "page", user_id="ada", timestamp=datetime.now(UTC))
    await _send(database, call, clock="demo")
    async with database.reading() as connection:
        (row,) = await fetch_all(connection, sql("SELECT at, received_at FROM events"))
    assert row["at"] == ORIGIN
    assert datetime.now(UTC) - row["received_at"] < timedelta(minutes=1)


async def test_events_of_people_on_an_advancing_clock_are_refused_with_their_batch(database: Database) -> None:
    await _created(database, "demo")
    await _send(database, InboundEvent("identify", "i", "identify", user_id="ada"), clock="demo")
    async with database.transaction() as connection:
        await _advanced(connection, 1)
    ben = InboundEvent("page", "b", "page", user_id="ben")
    with pytest.raises(ClockAdvancing):
        await _send(database, ben, InboundEvent("page", "a", "page", user_id="ada"))
    assert await _send(database, ben) == (1, 0)


def test_an_account_and_its_members_are_one_group_and_everybody_else_is_alone() -> None:
    links = [("u1", "a1"), ("u2", "a1"), ("a1", None), ("u3", None), ("u4", "a2"), ("u4", "a3"), ("u5", "a3")]
    groups = connected(links)
    assert groups["u1"] == groups["a1"] == ("a1", "u1", "u2")
    assert groups["u3"] == ("u3",)
    assert groups["a2"] == groups["u5"] == ("a2", "a3", "u4", "u5"), "a member of two accounts joins them"


async def test_groups_are_read_from_memberships_and_merges(database: Database) -> None:
    await _created(database, "demo")
    await _send(database, _group(1, "ada", "acme"), _group(2, "ada", "zeta"), _group(3, "ben", "acme"), clock="demo")
    await _send(database, InboundEvent("identify", "i", "identify", user_id="cyd"), clock="demo")
    async with database.transaction() as connection:
        groups = await read_groups(connection, "demo")
        await execute(connection, sql("UPDATE subjects SET clock = NULL"))
        assert await read_groups(connection, "demo") == {}
    assert sorted(len(group) for group in set(groups.values())) == [1, 4]
