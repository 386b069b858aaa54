"""A field that is declared later is filled from kept events, and the runs that read it receive it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from journeys.events.inbound import InboundEvent
from journeys.events.profile_bounds import ProfileBounds
from journeys.events.tracking_plan import TrackingPlan
from store.database import Database, sql
from store.events import ingest
from store.people import field_filling
from store.people.field_filling import begin_fillings, declare_fields
from store.rows import loaded
from tests.support.live_stack import until
from tests.support.members import READER, Lanes
from worker.loops.field_filling import fields_of, fill_declared_fields, fill_slice

BEFORE: dict[str, Any] = {"profile": {"plan": "string"}, "account": {"seats": "int"}}
NOW: dict[str, Any] = {
    "sources": {"crm": "The CRM"},
    "profile": {"plan": "string", "role": "string", "shoe_size": "int", "score": {"type": "int", "writers": ["crm"]}},
    "account": {"seats": "int", "fax": "string"},
}


@pytest.fixture
async def lanes(database: Database, monkeypatch: pytest.MonkeyPatch) -> Lanes:
    monkeypatch.setattr(field_filling, "PAGE", 3)
    lanes = Lanes(database)
    await fill(lanes, BEFORE)
    return lanes


async def fill(lanes: Lanes, plan: dict[str, Any]) -> None:
    """Declare a plan, as a worker does that starts with it, and fill its fields."""
    declared = TrackingPlan.model_validate(plan)
    lanes.catalogue.bounds, fields = ProfileBounds.of(declared), fields_of(declared)
    stop = asyncio.Event()
    loop = asyncio.create_task(fill_declared_fields(lanes.database, lanes.catalogue, fields, stop))

    async def is_declared() -> bool:
        return len(await lanes.rows(sql("SELECT 1 FROM declared_fields"))) >= len(fields)

    await until(is_declared)
    stop.set()
    await loop
    await wait_out(lanes)
    await fill_again(lanes, plan)


async def fill_again(lanes: Lanes, plan: dict[str, Any]) -> list[str]:
    """Fill what is to be filled now, as a worker's loop does; the names of these fields."""
    async with lanes.database.transaction() as connection:
        unfilled = await begin_fillings(connection, fields_of(TrackingPlan.model_validate(plan)))
    for field in unfilled:
        while await fill_slice(lanes.database, lanes.catalogue, field):
            pass
    return sorted(field.name for field in unfilled)


async def wait_out(lanes: Lanes) -> None:
    """As if the fields had been declared, dropped and filled ten minutes earlier."""
    await lanes.execute(
        "UPDATE declared_fields SET dropped_at = dropped_at - interval '10 minutes', began_at = began_at - interval '10 minutes'"
    )


def bounds_of(plan: dict[str, Any]) -> ProfileBounds:
    return ProfileBounds.of(TrackingPlan.model_validate(plan))


async def profile(lanes: Lanes, name: str) -> dict[str, Any]:
    (row,) = await lanes.rows(sql("SELECT profile FROM subjects WHERE key = :key"), key=await lanes.key(name))
    return dict(loaded(row["profile"]))


async def test_the_newest_kept_value_fills_a_field_that_has_none(lanes: Lanes) -> None:
    for n in range(7):
        await lanes.identify(f"u{n}", shoe_size=40, plan="team")
        await lanes.identify(f"u{n}", shoe_size=40 + n)
    await lanes.identify("forgot", shoe_size=40)
    await lanes.identify("forgot", shoe_size=None)
    await lanes.joins("u1", "acme", fax="1", seats=3)
    await lanes.joins("u2", "acme", fax="2")
    assert await profile(lanes, "u3") == {"plan": "team"}
    lanes.catalogue.bounds = ProfileBounds.of(TrackingPlan.model_validate(NOW))
    await lanes.identify("u5", shoe_size=99)
    await fill(lanes, NOW)
    assert [(await profile(lanes, f"u{n}"))["shoe_size"] for n in range(7)] == [40, 41, 42, 43, 44, 99, 46]
    assert await profile(lanes, "forgot") == {}
    assert await profile(lanes, "acme") == {"seats": 3, "fax": "2"}


async def test_a_users_own_value_counts_before_that_of_a_merged_visitor(lanes: Lanes) -> None:
    await lanes.accept(lanes.call("identify", anonymous="v-1", shoe_size=41))
    await lanes.accept(lanes.call("identify", anonymous="v-2", shoe_size=42))
    await lanes.identify("ada", shoe_size=38)
    await lanes.identify("bob", plan="team")
    await lanes.accept(lanes.call("identify", user="ada", anonymous="v-1"))
    await lanes.accept(lanes.call("identify", user="bob", anonymous="v-2"))
    await fill(lanes, NOW)
    assert (await profile(lanes, "ada"))["shoe_size"] == 38
    assert (await profile(lanes, "bob"))["shoe_size"] == 42


async def test_only_events_of_a_fields_writers_fill_it(lanes: Lanes) -> None:
    for source, score in (("segment:crm", 7), ("segment:shop", 9)):
        call = InboundEvent("identify", "m", "identify", user_id="ada", traits={"score": score})
        await ingest.accept(lanes.database, lanes.catalogue, [call], source=source)
    await fill(lanes, NOW)
    assert (await profile(lanes, "ada"))["score"] == 7


async def test_runs_that_read_the_field_receive_it(lanes: Lanes) -> None:
    lanes.catalogue.bounds = ProfileBounds({"profile": frozenset(), "account": frozenset()})
    await lanes.identify("ada", role="admin")
    assert await profile(lanes, "ada") == {}
    await lanes.publish(READER)
    await lanes.joins("ada", plan="trial")
    await lanes.track("ada", "signed_up")
    await fill(lanes, NOW)
    rows = await lanes.rows(
        sql("SELECT kind, facts FROM outbox WHERE recipient = :key ORDER BY seq"), key=await lanes.key("ada")
    )
    assert rows[-1]["kind"] == "facts"
    assert loaded(rows[-1]["facts"])["profile"] == {"role": "admin"}


async def test_what_a_process_with_an_older_plan_drops_after_the_filling_is_filled_when_it_is_gone(
    lanes: Lanes,
) -> None:
    await lanes.identify("ada", plan="team", shoe_size=38)
    await fill(lanes, NOW)
    lanes.catalogue.bounds = bounds_of(BEFORE)
    await lanes.identify("ben", plan="team", shoe_size=44)
    await lanes.identify("ada", shoe_size=39)
    assert await fill_again(lanes, NOW) == [], "an older process is there"
    lanes.catalogue.bounds = bounds_of(NOW)
    await lanes.identify("cyd", shoe_size=40)
    await wait_out(lanes)
    assert await fill_again(lanes, NOW) == ["shoe_size"]
    assert [(await profile(lanes, name))["shoe_size"] for name in ("ada", "ben", "cyd")] == [39, 44, 40]
    await wait_out(lanes)
    assert await fill_again(lanes, NOW) == [], "nothing was dropped since"


async def test_a_field_that_is_declared_again_is_filled_for_the_time_between(lanes: Lanes) -> None:
    await fill(lanes, NOW)
    await lanes.identify("ada", shoe_size=38)
    await lanes.identify("cyd", shoe_size=41)
    await lanes.identify("dan", shoe_size=42)
    await fill(lanes, BEFORE)
    await lanes.identify("ada", shoe_size=39)
    await lanes.identify("ben", shoe_size=44)
    await lanes.identify("dan", shoe_size=43)
    await lanes.identify("dan", shoe_size=None)
    await wait_out(lanes)
    lanes.catalogue.bounds = bounds_of(NOW)
    await lanes.identify("ben", shoe_size=45)
    assert await fill_again(lanes, NOW) == ["shoe_size"]
    assert [(await profile(lanes, name)).get("shoe_size") for name in ("ada", "ben", "cyd", "dan")] == [
        39,
        45,
        41,
        None,
    ]


async def test_a_transaction_that_drops_a_value_while_the_field_is_filled_lets_another_filling_follow(
    lanes: Lanes,
) -> None:
    await lanes.identify("ada", plan="team")
    async with lanes.database.transaction() as accepting:
        lanes.catalogue.bounds = bounds_of(BEFORE)
        call = InboundEvent(
            "identify", "late", "identify", subject_key=await lanes.key("ada"), traits={"shoe_size": 38}
        )
        await ingest.accept_within(accepting, lanes.catalogue, [call], source="segment:shop")
        async with lanes.database.transaction() as connection:
            await declare_fields(connection, fields_of(TrackingPlan.model_validate(NOW)))
        assert await fill_again(lanes, NOW) == [], "it may have begun before the declaration"
    await wait_out(lanes)
    lanes.catalogue.bounds = bounds_of(NOW)
    assert await fill_again(lanes, NOW) == ["fax", "role", "score", "shoe_size"]
    assert (await profile(lanes, "ada"))["shoe_size"] == 38
