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
from store.rows import loaded
from tests.support.live_stack import until
from tests.support.members import READER, Lanes
from worker.loops.field_filling import fields_of, fill_declared_fields

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

    async def is_filled() -> bool:
        rows = await lanes.rows(sql("SELECT filled_at FROM declared_fields"))
        return len(rows) >= len(fields) and all(row["filled_at"] is not None for row in rows)

    await until(is_filled)
    stop.set()
    await loop


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
