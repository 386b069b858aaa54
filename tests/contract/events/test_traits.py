"""Traits as real senders write them: read by the plan, held one by one, by their own instants, from Segment's specs."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.contract.events.test_ingest import event, quarantine_faults
from tests.contract.events.test_odd_calls import profile


def identify(user: str, message: str, hours: float = 0, **more: Any) -> dict[str, Any]:
    """An identify call of so many hours ago."""
    at = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
    return {"type": "identify", "userId": user, "messageId": message, "timestamp": at, **more}


async def test_a_field_keeps_the_newer_statement_when_the_older_arrives_later(sender, api, db):
    await sender.post("/v1/identify", json=identify("told", "told-1", 1, traits={"plan": "pro"}))
    await sender.post("/v1/identify", json=identify("told", "told-2", 6, traits={"plan": "free", "useCase": "x"}))
    assert (await profile(db, "told"))["plan"] == "pro"
    view = (await api.get("/v1/users/told")).json()
    origin = view["origins"]["plan"]
    assert origin["occurred_at"] < origin["accepted_at"]
    assert (origin["is_implied"], set(view["origins"])) == (False, set(view["profile"]))


@pytest.mark.parametrize("route", ["single", "batch"])
async def test_a_trait_that_cannot_be_read_is_held_and_the_good_value_stays(sender, api, db, route):
    user = f"unread-{route}"
    good = {"lifetime_value": "250.5", "created_at": 1798675200, "plan": "pro"}
    await sender.post("/v1/identify", json=identify(user, f"{user}-1", traits=good))
    call = identify(user, f"{user}-2", traits={"lifetime_value": "2,5", "created_at": "31/12/2026", "plan": "team"})
    if route == "single":
        answer = (await sender.post("/v1/identify", json=call)).json()
        assert answer["quarantined"] == [
            "traits: created_at is not a timestamp", "traits: lifetime_value is not a double",
        ]  # fmt: skip
    else:
        answer = (await sender.post("/v1/batch", json={"batch": [call]})).json()
        assert (answer["accepted"], answer["quarantined"]) == (1, 0)
        (error,) = answer["errors"]
        assert (error["index"], error["messageId"]) == (0, f"{user}-2")
        assert {fault["pointer"] for fault in error["errors"]} == {"/batch/0/traits"}
    expected = {"lifetime_value": 250.5, "created_at": "2026-12-31T00:00:00+00:00", "plan": "team"}
    assert await profile(db, user) == expected
    assert len(await quarantine_faults(db, f"{user}-2:traits")) == 2
    number = await db.fetchval("SELECT id FROM quarantine WHERE message_id = $1", f"{user}-2:traits")
    refused = await api.post(f"/v1/quarantine/{number}/replay")
    assert (refused.status_code, len(refused.json()["errors"])) == (409, 2)
    repeated = (await sender.post("/v1/identify", json=call)).json()
    assert repeated["duplicate"]
    assert await db.fetchval("SELECT count(*) FROM quarantine WHERE message_id LIKE $1", f"{user}-2%") == 1


async def test_a_held_trait_that_can_be_read_by_now_is_replayed_with_its_own_instant(sender, api, db):
    await sender.post("/v1/identify", json=identify("mended", "mended-1", 5, traits={"lifetime_value": "many"}))
    await sender.post("/v1/identify", json=identify("mended", "mended-2", 8, traits={"lifetime_value": 3}))
    number = await db.fetchval("SELECT id FROM quarantine WHERE message_id = 'mended-1:traits'")
    # What a later plan could read: the same call, with a value that it allows.
    await db.execute(
        "UPDATE quarantine SET event = jsonb_set(event, '{traits,lifetime_value}', '7') WHERE id = $1", number
    )
    assert (await api.post(f"/v1/quarantine/{number}/replay")).status_code == 200
    assert await profile(db, "mended") == {"lifetime_value": 7.0}
    await sender.post("/v1/identify", json=identify("mended", "mended-3", 6, traits={"lifetime_value": 9}))
    assert await profile(db, "mended") == {"lifetime_value": 7.0}


async def test_zone_and_language_of_the_context_count_until_a_trait_says_otherwise(sender, db):
    context = {"timezone": "europe/vienna", "locale": "de-AT", "traits": {"firstName": "Ann"}}
    await sender.post("/v1/identify", json=identify("placed", "placed-1", context=context))
    assert await profile(db, "placed") == {"timezone": "Europe/Vienna", "locale": "de-AT", "first_name": "Ann"}
    await sender.post("/v1/identify", json=identify("placed", "placed-2", 9, traits={"timezone": "Asia/Tokyo"}))
    await sender.post("/v1/identify", json=identify("placed", "placed-3", context={"timezone": "UTC", "locale": "en"}))
    found = await profile(db, "placed")
    assert (found["timezone"], found["locale"]) == ("Asia/Tokyo", "en")


async def test_a_held_trait_is_kept_without_the_ip_address_of_its_call(sender, db):
    call = identify("hidden", "hidden-1", traits={"lifetime_value": "many"}, context={"ip": "203.0.113.7"})
    await sender.post("/v1/identify", json=call)
    held = await db.fetchval("SELECT event::text FROM quarantine WHERE message_id = 'hidden-1:traits'")
    assert "many" in held
    assert "203.0.113.7" not in held


ORDER = {
    "order_id": "50314b8e", "affiliation": "Shop", "total": "27.50", "subtotal": "22.50", "revenue": 25.0, "shipping": 3,
    "tax": 2, "discount": 2.5, "coupon": "hasbros", "currency": "USD",
    "products": [{"product_id": "507f1f77", "sku": "45790-32", "name": "Game", "price": 19, "quantity": 1, "position": 1}],
}  # fmt: skip


async def test_an_order_as_segments_spec_has_it_is_accepted(sender, db):
    call = {**event("buyer", "spec-order"), "event": "Order Completed", "properties": ORDER}
    answer = (await sender.post("/v1/track", json=call)).json()
    assert answer == {"success": True}
    data = json.loads(await db.fetchval("SELECT data FROM events WHERE message_id = 'spec-order'"))
    assert (data["total"], "quantity" in data) == (27.5, False)


@pytest.mark.parametrize(
    ("name", "properties"),
    [
        ("Product Viewed", {"product_id": "1", "price": 18.99, "quantity": 1, "currency": "usd", "value": 18.99}),
        ("Products Searched", {"query": "blue hotpants"}),
        ("Product Added", {"cart_id": "c", "product_id": "1", "quantity": 1}),
        ("Cart Viewed", {"cart_id": "c", "products": []}),
        ("Checkout Started", {"order_id": "1", "value": 30, "products": []}),
        ("Payment Info Entered", {"checkout_id": "1", "order_id": "1"}),
        ("Order Refunded", {"order_id": "1", "total": 30, "products": []}),
        ("Coupon Denied", {"order_id": "1", "coupon": "x", "reason": "expired"}),
        ("Product Added to Wishlist", {"wishlist_id": "w", "product_id": "1"}),
        ("Product Reviewed", {"product_id": "1", "review_body": "Good", "rating": "5"}),
        ("Account Created", {"account_name": "Initech"}),
        ("Account Added User", {"role": "Owner"}),
        ("Signed Up", {"type": "organic", "first_name": "Peter", "email": "p@initech.example", "title": "Mr"}),
        ("Signed In", {"username": "pgibbons"}),
        ("Invite Sent", {"invitee_email": "m@initech.example", "invitee_role": "Owner"}),
        ("Trial Started", {"trial_start_date": "2026-08-13T16:40:52.238Z", "trial_plan_name": "Business"}),
        ("Trial Ended", {"trial_end_date": "2026-09-13T16:40:52.238Z"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_events_of_segments_specs_are_in_the_shipped_plan(sender, name, properties):
    call = {**event("speccer", f"spec-{name}"), "event": name, "properties": properties}
    assert (await sender.post("/v1/track", json=call)).json() == {"success": True}
