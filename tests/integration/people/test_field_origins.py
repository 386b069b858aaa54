"""Fields in the store: the newest statement counts, also over merges, accounts and late arrivals."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import count, permutations
from typing import Any

import pytest

from journeys.events.inbound import CallKind, InboundEvent
from journeys.events.profile_bounds import ProfileBounds
from journeys.events.tracking_plan import TrackingPlan
from store.database import Database, sql
from store.events import ingest
from store.process_clock import current_instant
from store.rows import loaded
from tests.support.members import Lanes
from tests.support.steps import publish

_numbers = count()


@pytest.fixture
def lanes(database: Database) -> Lanes:
    return Lanes(database)


def sent(hours: float, kind: CallKind = "identify", *, user: str | None = "ada", **options: Any) -> InboundEvent:
    """A call of so many hours ago."""
    at = current_instant() - timedelta(hours=hours)
    number = next(_numbers)
    return InboundEvent(kind, f"m{number}", kind, user_id=user, timestamp=at, **options)


async def accept(lanes: Lanes, *calls: InboundEvent) -> None:
    """Accept calls one by one, as they arrive."""
    for call in calls:
        await ingest.accept(lanes.database, lanes.catalogue, [call], source="segment:write")


async def profile(lanes: Lanes, name: str = "ada") -> dict[str, Any]:
    (row,) = await lanes.rows(sql("SELECT profile FROM subjects WHERE key = :key"), key=await lanes.key(name))
    return dict(loaded(row["profile"]))


async def test_the_newer_of_two_statements_counts_whatever_arrives_last(lanes: Lanes) -> None:
    await accept(lanes, sent(1, traits={"plan": "pro"}), sent(6, traits={"plan": "free", "city": "Graz"}))
    assert await profile(lanes) == {"plan": "pro", "city": "Graz"}


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
@pytest.mark.parametrize("together", [False, True], ids=["one by one", "in one batch"])
async def test_every_order_of_arrival_gives_the_same_profile(
    lanes: Lanes, order: tuple[int, ...], *, together: bool
) -> None:
    calls = [
        sent(50, traits={"plan": "free", "city": "Graz", "seats": 1}),
        sent(5, traits={"plan": "pro", "city": None}),
        sent(1, traits={"plan": "team"}),
    ]
    arriving = [calls[place] for place in order]
    if together:
        await ingest.accept(lanes.database, lanes.catalogue, arriving, source="segment:write")
    else:
        await accept(lanes, *arriving)
    assert await profile(lanes) == {"plan": "team", "seats": 1}


async def test_an_accounts_fields_and_a_persons_account_follow_the_newer_group_call(lanes: Lanes) -> None:
    await accept(
        lanes,
        sent(1, "group", account_id="acme", traits={"plan": "pro"}),
        sent(6, "group", account_id="beta", traits={"plan": "trial"}),
        sent(3, "group", account_id="acme", traits={"plan": "free", "seats": 3}),
    )
    assert await profile(lanes, "acme") == {"plan": "pro", "seats": 3}
    (row,) = await lanes.rows(sql("SELECT account_key FROM subjects WHERE key = :key"), key=await lanes.key("ada"))
    assert row["account_key"] == await lanes.key("acme")


async def members(lanes: Lanes) -> list[str]:
    rows = await lanes.rows(
        sql("SELECT value FROM members JOIN identities ON subject_key = account_key ORDER BY value"),
    )
    return [row["value"] for row in rows]


async def test_a_late_joining_or_leaving_changes_no_newer_membership(lanes: Lanes) -> None:
    def left(hours: float, account: str) -> InboundEvent:
        return replace(sent(hours, "track", account_id=account), name="account_left")

    await accept(lanes, sent(1, "group", account_id="acme"), left(6, "acme"))
    assert await members(lanes) == ["acme"]
    await accept(lanes, left(1, "beta"), sent(6, "group", account_id="beta"))
    assert await members(lanes) == ["acme"]
    await accept(lanes, left(0, "acme"), sent(2, "group", account_id="acme"))
    assert await members(lanes) == []
    (row,) = await lanes.rows(sql("SELECT account_key FROM subjects WHERE key = :key"), key=await lanes.key("ada"))
    assert row["account_key"] is None


async def test_a_merge_keeps_the_newer_value_of_each_field(lanes: Lanes) -> None:
    await accept(
        lanes,
        sent(2, traits={"plan": "pro", "city": "Graz", "old": 1}),
        sent(3, user=None, anonymous_id="v", traits={"plan": "free", "city": "Linz", "lang": "de"}),
        sent(1, user=None, anonymous_id="v", traits={"city": "Wien", "old": None}),
        sent(0, anonymous_id="v"),
        sent(4, traits={"lang": "en"}),
    )
    assert await profile(lanes) == {"plan": "pro", "city": "Wien", "lang": "de"}


async def test_each_field_has_its_source_and_both_instants(lanes: Lanes) -> None:
    before = current_instant()
    call = sent(6, traits={"plan": "free"})
    await accept(lanes, call)
    (row,) = await lanes.rows(sql("SELECT origins FROM subjects"))
    occurred, accepted, source = loaded(row["origins"])["plan"]
    assert call.timestamp is not None
    assert occurred == round(call.timestamp.timestamp() * 1_000_000)
    assert before.timestamp() <= accepted / 1_000_000 <= current_instant().timestamp()
    assert source == "segment:write"


async def test_a_removal_of_what_no_plan_declares_leaves_nothing_behind(lanes: Lanes) -> None:
    lanes.catalogue.bounds = ProfileBounds.of(TrackingPlan.model_validate({"profile": {"plan": "string"}}))
    await accept(lanes, sent(1, traits={"plan": None, **{f"n{n}": None for n in range(500)}}))
    (row,) = await lanes.rows(sql("SELECT origins FROM subjects"))
    assert set(loaded(row["origins"])) == {"plan"}


REORDER = """
journey: reorder
entry: {on: ordered, again: never}
topic: shop
start: buying
states: {buying: {after: {"days(profile.rhythm)": over}}, over: {}}
"""


async def test_a_run_receives_a_field_that_its_delay_follows_as_soon_as_it_is_known(lanes: Lanes) -> None:
    await publish(lanes.database, REORDER, {"profile.rhythm": "double"})
    await lanes.track("ada", "ordered")
    began = (await lanes.decided("ada")).entered_at
    assert began is not None
    await lanes.identify("ada", rhythm=20.0)
    assert [envelope.kind for envelope in await lanes.heard("ada")] == ["entered", "facts"]
    assert (await lanes.decided("ada")).timers == {"s:after.days(profile.rhythm)": began + timedelta(days=20)}
