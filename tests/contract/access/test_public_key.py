"""A public key, which everybody can read in a page's source: what it can do to its own visitor, and to nobody else."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from api.events.front_door import REFUSAL_SECONDS
from api.http.limits import Limits
from journeys.access.user_hash import user_hash
from tests.support.api import application, client
from tests.support.api_keys import MadeForTests, make_api_key

VIEW = {"event": "pricing_viewed"}
FEW: dict[str, Any] = {
    "public_requests": 1_000_000,
    "network_requests": 8,
    "network_people": 3,
    "network_addresses": 4,
    "person_events": 5,
    "address_claims": 2,
    "public_bytes": 600 * 1024,
}


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
    "a user without their hash": ("track", {**VIEW, "userId": "victim"}),
    "a user with the hash of another": ("track", {**VIEW, "userId": "victim", "userHash": "0" * 64}),
    "a signal of the server": ("track", {"event": "Order Completed", "properties": {"order_id": "1", "total": 1, "quantity": 1}}),
    "a ticket": ("track", {"event": "Ticket Opened", "properties": {"ticket_id": "1", "priority": "urgent"}}),
    "a bounce": ("track", {"event": "Email Bounced", "properties": {"address": "victim@example.com", "kind": "hard"}}),
    "an answer": ("track", {"event": "message_replied", "properties": {"message": "1", "channel": "email"}}),
    "a confirmation mail": (
        "track",
        {"event": "consent_requested", "properties": {"request": "1", "channel": "email", "topic": "x", "link": "https://evil.example"}},
    ),
    "a reaction": (
        "track",
        {"event": "message_seen", "properties": dict.fromkeys(("message", "action", "template", "journey", "channel"), "x")},
    ),
    "an account's event": ("track", {**VIEW, "context": {"groupId": "victims"}}),
    "a membership": ("group", {"groupId": "victims", "traits": {}}),
    "an account's field": ("group", {"groupId": "victims", "traits": {"plan": "free"}}),
    "an alias": ("alias", {"previousId": "v-1", "userId": "victim"}),
    "a role": ("identify", {"traits": {"role": "champion"}}),
    "a field of the server": ("identify", {"traits": {"plan": "enterprise"}}),
    "an undeclared field": ("identify", {"traits": {"is_admin": True}}),
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
    assert await db.fetchval("SELECT count(*) FROM identities WHERE value IN ('victim', 'victims')") == 0


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
    assert redirect.status_code == 403
    assert (await profile(api, "ada"))["email"] == "ada@example.com"


async def test_a_visitor_who_is_a_known_user_is_named_no_more_without_their_hash(api, web, key, db):
    device = visitor()
    assert (await web.post("/v1/track", json={**VIEW, "anonymousId": device})).status_code == 200
    await web.post("/v1/identify", json={**signed_in(key, "bea"), "anonymousId": device, "traits": {}})
    message = uuid.uuid4().hex
    call = {**VIEW, "anonymousId": device, "messageId": message}
    assert (await web.post("/v1/track", json=call)).status_code == 403
    batch = (await web.post("/v1/batch", json={"batch": [{"type": "track", **call}]})).json()
    assert (batch["accepted"], batch["quarantined"]) == (0, 1)
    held = await db.fetchval("SELECT id FROM quarantine WHERE message_id = $1", message)
    assert (await api.post(f"/v1/quarantine/{held}/replay")).status_code == 409
    assert await stored(db, message) == []
    assert (await web.post("/v1/track", json={**call, **signed_in(key, "bea")})).status_code == 200


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


# -- quotas ------------------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def narrow(database_url) -> AsyncIterator[tuple[httpx.AsyncClient, MadeForTests]]:
    """A deployment with small quotas; the client sends with a public key."""
    app = application(database_url, limits=Limits(**FEW))
    async with client(app) as operator:
        key = await make_api_key(operator, "website", "public")
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://api", auth=(key.secret, "")
        ) as made:
            yield made, key


def is_used_up(answer: httpx.Response, what: str) -> bool:
    assert answer.status_code == 429, answer.text
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["type"].endswith("quota-exceeded")
    return what in answer.json()["detail"]


async def test_the_requests_of_one_network_are_counted_and_nobody_elses_suffer(narrow):
    web, key = narrow
    answers = [await web.post("/v1/page", json={"anonymousId": "v-1"}) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    assert is_used_up(await web.post("/v1/page", json={"anonymousId": "v-1"}), "events of this person")
    for n in (2, 3):
        assert (await web.post("/v1/page", json={"anonymousId": f"v-{n}"})).status_code == 200
    assert is_used_up(await web.post("/v1/page", json={"anonymousId": "v-2"}), "requests of this network")
    other = httpx.ASGITransport(web._transport.app, client=("203.0.113.9", 1))
    async with httpx.AsyncClient(transport=other, base_url="http://api", auth=(key.secret, "")) as neighbour:
        assert (await neighbour.post("/v1/page", json={"anonymousId": "v-9"})).status_code == 200


async def test_requests_beyond_a_quota_wait_for_their_refusals_side_by_side_and_take_no_place(database_url):
    app = application(database_url, limits=Limits(**{**FEW, "network_requests": 1, "network_in_flight": 1}))
    async with client(app) as operator:
        key = await make_api_key(operator, "website", "public")
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api", auth=(key.secret, "")) as web:
            assert (await web.post("/v1/page", json={"anonymousId": "v-1"})).status_code == 200
            began = time.monotonic()
            answers = await asyncio.gather(*(web.post("/v1/page", json={"anonymousId": "v-1"}) for _ in range(30)))
            took = time.monotonic() - began
    assert all(is_used_up(answer, "requests of this network") for answer in answers)
    assert took < 30 * REFUSAL_SECONDS / 3, "one after another they would take three times as long as this"


async def test_new_people_of_one_network_are_counted(narrow):
    web, _ = narrow
    batch = [{"type": "page", "anonymousId": f"v-{n}"} for n in range(4)]
    assert is_used_up(await web.post("/v1/batch", json={"batch": batch}), "new people of this network")
    assert (await web.post("/v1/batch", json={"batch": batch[:3]})).json()["accepted"] == 3
    assert is_used_up(await web.post("/v1/page", json={"anonymousId": "v-4"}), "new people of this network")
    assert (await web.post("/v1/page", json={"anonymousId": "v-0"})).status_code == 200


async def test_an_address_is_asked_about_a_few_times_a_day_whoever_claims_it(narrow):
    web, _ = narrow
    for n in range(2):
        call = {"anonymousId": f"v-{n}", "traits": {"email": "Bombed@example.com"}}
        assert (await web.post("/v1/identify", json=call)).status_code == 200
        assert (await web.post("/v1/identify", json=call)).status_code == 200, "the same address again is no claim"
    call = {"anonymousId": "v-2", "traits": {"email": "bombed@example.com "}}
    assert is_used_up(await web.post("/v1/identify", json=call), "requests about this address")
    asked = {"anonymousId": "v-0", "traits": {"consents": {"email": {"offers": True}}}}
    assert is_used_up(await web.post("/v1/identify", json=asked), "requests about this address")


async def test_the_bytes_of_a_key_are_counted_over_all_its_senders(narrow):
    web, _ = narrow
    large = {"batch": [{"type": "page", "anonymousId": "v-1", "properties": {"a": "x" * 25_000}}] * 15}
    assert (await web.post("/v1/batch", json=large)).status_code in {200, 429}
    assert is_used_up(await web.post("/v1/batch", json=large), "")


async def test_quotas_hold_over_two_processes(database_url):
    apps = [application(database_url, limits=Limits(**FEW)) for _ in range(2)]
    async with client(apps[0]) as operator, client(apps[1]):
        key = await make_api_key(operator, "website", "public")
        answers = []
        for n in range(12):
            transport = httpx.ASGITransport(apps[n % 2])
            async with httpx.AsyncClient(transport=transport, base_url="http://api", auth=(key.secret, "")) as web:
                answers.append((await web.post("/v1/page", json={"anonymousId": f"v-{n % 3}"})).status_code)
        assert answers.count(200) == 8
