"""A public key, which everybody can read in a page's source: what it can do to its own visitor, and to nobody else."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from journeys.access.user_hash import user_hash
from tests.support.api_keys import MadeForTests, make_api_key

VIEW = {"event": "pricing_viewed"}


@pytest_asyncio.fixture(scope="module")
async def key(api) -> MadeForTests:
    return await make_api_key(api, "website", "public", source="website")


@pytest_asyncio.fixture(scope="module")
async def web(app, key) -> AsyncIterator[httpx.AsyncClient]:
    """A browser, or whoever has read the key in one."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://api", auth=(key.secret, "")
    ) as made:
        yield made


def visitor() -> str:
    return f"v-{uuid.uuid4().hex}"


def signed_in(key: MadeForTests, user: str) -> dict[str, Any]:
    return {"userId": user, "userHash": user_hash(key.view["identity_secret"], user)}


async def stored(db, message: str) -> list[tuple[str, str, Any]]:
    rows = await db.fetch("SELECT source, name, context FROM events WHERE message_id = $1", message)
    return [tuple(row) for row in rows]


async def profile(api, name: str) -> dict[str, Any]:
    found = await api.get(f"/v1/users/{name}")
    return dict(found.json()["profile"]) if found.status_code == 200 else {}


async def test_a_visitor_is_followed_over_public_signals_and_pages(web, db):
    who = visitor()
    for path, call in (("track", VIEW), ("page", {"name": "Pricing"}), ("page", {"name": "Home"}), ("screen", {})):
        message = uuid.uuid4().hex
        sent = await web.post(f"/v1/{path}", json={**call, "anonymousId": who, "messageId": message})
        assert sent.status_code == 200, sent.text
        ((source, _, _),) = await stored(db, message)
        assert source == "segment:website"


FOREIGN: dict[str, tuple[str, dict[str, Any]]] = {
    "a signal of the server": ("track", {"event": "Order Completed", "properties": {"order_id": "1", "total": 1, "quantity": 1}}),
    "a ticket": ("track", {"event": "Ticket Opened", "properties": {"ticket_id": "1", "priority": "urgent"}}),
    "a bounce": ("track", {"event": "Email Bounced", "properties": {"address": "victim@example.com", "kind": "hard"}}),
    "an answer": ("track", {"event": "message_replied", "properties": {"message": "1", "channel": "email"}}),
    "a confirmation mail": (
        "track",
        {"event": "consent_requested", "properties": {"request": "1", "channel": "email", "topic": "x", "link": "https://evil.example"}},
    ),
    "a confirmation that fails the plan": ("track", {"event": "consent_confirmed", "properties": {}}),
    "a ticket that fails the plan": ("track", {"event": "Ticket Opened", "properties": {}}),
    "a reaction": (
        "track",
        {"event": "message_seen", "properties": dict.fromkeys(("message", "action", "template", "journey", "channel"), "x")},
    ),
    "a grant": ("identify", {"traits": {"consents": {"email": {"onboarding": True}}}}),
    "a statement taken back": ("identify", {"traits": {"unsubscribed": False}}),
    "a grant by signal": (
        "track", {"event": "Consent Changed", "properties": {"channel": "email", "topic": "shop", "granted": True}}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
async def test_what_is_not_its_own_gets_403_alone_and_quarantine_in_a_batch(api, web, db, name):
    kind, call = FOREIGN[name]
    message = uuid.uuid4().hex
    call = {"anonymousId": visitor(), "messageId": message, **call}
    refused = await web.post(f"/v1/{kind}", json=call)
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:tenure:problem:forbidden")
    assert refused.json()["errors"][0]["detail"]
    own = {"type": "track", **VIEW, "anonymousId": call["anonymousId"], "messageId": f"own-{message}"}
    batch = (await web.post("/v1/batch", json={"batch": [own, {"type": kind, **call}, own]})).json()
    assert (batch["accepted"], batch["quarantined"], batch["duplicates"]) == (1, 1, 1)
    assert [(entry["index"], entry["messageId"]) for entry in batch["errors"]] == [(1, message)]
    assert await stored(db, message) == []
    held = await db.fetchval("SELECT id FROM quarantine WHERE message_id = $1", message)
    assert (await api.post(f"/v1/quarantine/{held}/replay")).status_code == 409, "a replay gives the key no more"


async def test_a_signed_in_user_is_named_with_their_hash_which_is_not_stored(api, web, key, db):
    await api.post("/v1/identify", json={"userId": "ada", "traits": {"email": "ada@example.com"}})
    proof = signed_in(key, "ada")
    for message, call in (
        ("top", {**VIEW, **proof}),
        ("inside", {**VIEW, "userId": "ada", "context": {"userHash": proof["userHash"], "page": {"path": "/"}}}),
    ):
        sent = await web.post("/v1/track", json={**call, "messageId": message})
        assert sent.status_code == 200, sent.text
        ((_, _, context),) = await stored(db, message)
        assert "userHash" not in str(context)
    batch = {"batch": [{"type": "page", "userId": "ada"}], "context": {"userHash": proof["userHash"]}}
    assert (await web.post("/v1/batch", json=batch)).json()["accepted"] == 1
    redirect = await web.post("/v1/identify", json={**proof, "traits": {"email": "thief@evil.example"}})
    assert redirect.status_code == 200
    assert (await profile(api, "ada"))["email"] == "ada@example.com"


async def test_the_hash_is_not_stored_with_an_event_of_a_secret_key_either(api, sender, key, db):
    """A server that forwards calls of browsers sends their hashes too."""
    proof = signed_in(key, "ada")
    for client, message in ((api, "by-operator"), (sender, "by-write-key")):
        context = {"userHash": proof["userHash"], "locale": "de"}
        call = {
            "event": "feature_used",
            "properties": {"feature": "x"},
            **proof,
            "context": context,
            "messageId": message,
        }
        assert (await client.post("/v1/track", json=call)).status_code == 200
        ((_, _, stored_context),) = await stored(db, message)
        assert "userHash" not in str(stored_context)
        assert "locale" in str(stored_context)
    rows = await db.fetch("SELECT to_jsonb(e)::text AS event FROM events e WHERE message_id LIKE 'by-%'")
    assert len(rows) == 2
    assert not any(proof["userHash"] in row["event"] for row in rows)


@pytest.mark.parametrize("place", ["event", "context", "text"])
async def test_the_hash_of_a_quarantined_event_is_shown_to_no_key_and_still_proves_its_user(api, web, key, db, place):
    """A key with the scope `read` sees the quarantine, and may not act for the user."""
    proof, message = signed_in(key, "ada"), uuid.uuid4().hex
    call = {
        "type": "track",
        "event": "feature_used",
        "userId": "ada",
        "messageId": message,
        "properties": {"feature": []},
    }
    match place:
        case "event":
            call |= proof
        case "context":
            call |= {"context": {"userHash": proof["userHash"], "locale": "de"}}
        case _:
            call |= {**proof, "properties": {"feature": "\x00"}}
    assert (await web.post("/v1/batch", json={"batch": [call]})).json()["quarantined"] == 1
    item = await db.fetchrow("SELECT id, event FROM quarantine WHERE message_id = $1", message)
    assert proof["userHash"] in item["event"], "it is kept for the replay"
    listed = (await api.get("/v1/quarantine", params={"limit": 100})).json()["items"]
    views = [next(view for view in listed if view["id"] == item["id"])]
    views.append((await api.get(f"/v1/quarantine/{item['id']}")).json())
    views.append((await api.post(f"/v1/quarantine/{item['id']}/discard")).json())
    for view in views:
        assert proof["userHash"] not in str(view)
        assert "ada" in str(view["event"])
    if place == "context":
        assert views[0]["event"]["context"] == {"locale": "de"}


async def test_an_address_that_a_public_key_gave_a_visitor_does_not_become_the_users(api, web, key):
    planted, device = visitor(), visitor()
    given = {"traits": {"email": "thief@evil.example", "locale": "de"}}
    assert (await web.post("/v1/identify", json={"anonymousId": planted, **given})).status_code == 200
    await web.post("/v1/identify", json={**signed_in(key, "cyd"), "anonymousId": planted, "traits": {}})
    assert await profile(api, "cyd") == {"locale": "de"}
    await web.post("/v1/identify", json={"anonymousId": device, **given})
    await api.post("/v1/identify", json={"anonymousId": device, "traits": {"email": "dan@example.com"}})
    await web.post("/v1/identify", json={**signed_in(key, "dan"), "anonymousId": device, "traits": {}})
    assert (await profile(api, "dan"))["email"] == "dan@example.com", "the server has said whose address it is"


async def test_a_visitor_refuses_at_once_and_a_grant_only_asks_for_a_confirmation(api, web):
    who = visitor()
    asked = {"traits": {"email": "visitor@example.com", "consents": {"email": {"offers": True}}}}
    assert (await web.post("/v1/identify", json={"anonymousId": who, **asked})).status_code == 200
    consents = (await api.get(f"/v1/users/{who}/consents")).json()
    assert (consents["items"], [item["topic"] for item in consents["pending"]]) == ([], ["offers"])
    refused = {"event": "Unsubscribed", "properties": {}}
    assert (await web.post("/v1/track", json={"anonymousId": who, **refused})).status_code == 200
    consents = (await api.get(f"/v1/users/{who}/consents")).json()
    assert [(item["channel"], item["granted"]) for item in consents["items"]] == [("email", False)]
    assert consents["pending"] == []


async def test_a_stranger_joins_no_trace_of_another(web):
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    sent = await web.post("/v1/track", json={**VIEW, "anonymousId": visitor()}, headers={"traceparent": parent})
    assert sent.headers["x-tenure-trace"] != "4bf92f3577b34da6a3ce929d0e0e4736"
