"""Claims of a public key: users without their hash, accounts and aliases change nobody but their visitor."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from journeys.access.user_hash import user_hash
from tests.support.api_keys import MadeForTests, make_api_key

VIEW = {"event": "pricing_viewed"}
VICTIM = {"email": "victim@example.com", "plan": "team"}


@pytest_asyncio.fixture(scope="module")
async def key(api) -> MadeForTests:
    return await make_api_key(api, "claiming", "public", source="claiming")


@pytest_asyncio.fixture(scope="module")
async def web(app, key) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api", auth=(key.secret, "")) as made:
        yield made


def fresh(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex}"


def proof(key: MadeForTests, user: str) -> dict[str, Any]:
    return {"userId": user, "userHash": user_hash(key.view["identity_secret"], user)}


async def event(db, message: str) -> tuple[str, str, dict[str, Any], dict[str, Any]]:
    """Subject, kind, data and context of a stored event."""
    row = await db.fetchrow("SELECT subject_key, kind, data, context FROM events WHERE message_id = $1", message)
    assert row is not None, "the event is stored"
    return row["subject_key"], row["kind"], json.loads(row["data"]), json.loads(row["context"] or "{}")


async def person(db, value: str) -> str | None:
    row = await db.fetchrow("SELECT subject_key FROM identities WHERE value = $1 AND kind <> 'account_id'", value)
    return str(row["subject_key"]) if row is not None else None


async def whole(db, *subjects: str) -> list[str]:
    """Everything of these people and accounts that events change."""
    rows = []
    for table, column in (
        ("subjects", "key"),
        ("identities", "subject_key"),
        ("members", "account_key"),
        ("events", "subject_key"),
    ):
        found = await db.fetch(
            f"SELECT to_jsonb(t)::text AS row FROM {table} t WHERE {column} = ANY($1)", list(subjects)
        )
        rows += sorted(row["row"] for row in found)
    return rows  # fmt: skip


CLAIMS: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "a user without their hash": ("track", {**VIEW, "userId": "USER"}, {"userId": "USER"}),
    "a user with the hash of another": ("track", {**VIEW, "userId": "USER", "userHash": "0" * 64}, {"userId": "USER"}),
    "traits of a user": ("identify", {"userId": "USER", "traits": {"plan": "free", "email": "thief@evil.example"}}, {"userId": "USER"}),
    "an account's event": ("track", {**VIEW, "context": {"groupId": "ACCOUNT"}}, {"groupId": "ACCOUNT"}),
    "a membership": ("group", {"groupId": "ACCOUNT", "traits": {"plan": "free"}}, {"groupId": "ACCOUNT"}),
    "a user's membership": ("group", {"groupId": "ACCOUNT", "userId": "USER"}, {"userId": "USER", "groupId": "ACCOUNT"}),
    "an alias": ("alias", {"previousId": "v-1", "userId": "USER"}, {"userId": "USER", "previousId": "v-1"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize("path", ["single", "batch"])
async def test_a_claim_gets_200_stays_with_the_visitor_and_changes_no_user_and_no_account(api, web, db, name, path):
    user, account, visitor, message = fresh("user"), fresh("account"), fresh("visitor"), fresh("m")
    await api.post("/v1/identify", json={"userId": user, "traits": VICTIM})
    await api.post("/v1/group", json={"userId": user, "groupId": account, "traits": {"plan": "team"}})
    victims = (
        await person(db, user),
        await db.fetchval("SELECT subject_key FROM identities WHERE value = $1", account),
    )
    before = await whole(db, *victims)
    kind, call, claims = CLAIMS[name]
    text = json.dumps([{"anonymousId": visitor, "messageId": message, "type": kind, **call}, claims])
    call, claims = json.loads(text.replace("USER", user).replace("ACCOUNT", account))
    sent = (
        await web.post(f"/v1/{kind}", json=call)
        if path == "single"
        else await web.post("/v1/b", json={"batch": [call]})
    )
    assert (sent.status_code, sent.json().get("quarantined", 0)) == (200, 0), sent.text
    subject, stored_kind, _, context = await event(db, message)
    assert (subject, context["$claims"]) == (await person(db, visitor), claims)
    assert stored_kind == {"group": "identify", "alias": "identify"}.get(kind, kind)
    assert await whole(db, *victims) == before


async def test_a_claim_joins_when_a_secret_key_names_the_same_pair(api, web, db):
    user, visitor, message = fresh("user"), fresh("visitor"), fresh("m")
    given = {"email": "thief@evil.example", "locale": "de", "plan": "enterprise"}
    claim = {"userId": user, "anonymousId": visitor, "messageId": message}
    assert (await web.post("/v1/identify", json={**claim, "traits": given})).status_code == 200
    assert (await api.get(f"/v1/users/{user}")).status_code == 404
    await api.post("/v1/identify", json={"userId": user, "anonymousId": visitor, "traits": {}})
    assert await person(db, visitor) == await person(db, user) == (await event(db, message))[0]
    assert (await api.get(f"/v1/users/{user}")).json()["profile"] == {"locale": "de"}, "public fields, and no address"


async def test_a_claim_joins_when_the_hash_is_valid(web, key, db):
    user, visitor = fresh("user"), fresh("visitor")
    await web.post("/v1/identify", json={"userId": user, "anonymousId": visitor})
    assert await person(db, user) is None
    await web.post("/v1/page", json={**proof(key, user), "anonymousId": visitor})
    assert await person(db, visitor) == await person(db, user)


async def test_once_a_visitor_is_a_known_user_their_id_alone_names_a_visitor_of_its_own(web, key, db):
    user, device = fresh("user"), fresh("device")
    await web.post("/v1/track", json={**VIEW, "anonymousId": device})
    await web.post("/v1/identify", json={**proof(key, user), "anonymousId": device})
    known = await person(db, user)
    before = await whole(db, known)
    others = set()
    for claim in ({}, {"userId": user}, {"userId": fresh("user")}):
        message = fresh("m")
        call = {**VIEW, **claim, "anonymousId": device, "messageId": message}
        assert (await web.post("/v1/track", json=call)).json() == {"success": True}
        assert (await web.post("/v1/b", json={"batch": [{"type": "track", **call}]})).json()["duplicates"] == 1
        others.add((await event(db, message))[0])
    assert len(others) == 1, "all of them are the same stranger's"
    assert known not in others
    assert await whole(db, known) == before
    await web.post("/v1/track", json={**VIEW, **proof(key, user), "anonymousId": device, "messageId": "proven-at-last"})
    assert (await event(db, "proven-at-last"))[0] == known
    assert await person(db, device) == known


async def test_a_visitors_own_id_that_a_user_has_too_is_held(api, web, key, db):
    device = fresh("device")
    for anonymous in (device, f"claimed:{device}"):
        await api.post("/v1/identify", json={"userId": fresh("user"), "anonymousId": anonymous})
    message = fresh("m")
    call = {**VIEW, "anonymousId": device, "messageId": message}
    assert "userHash" in (await web.post("/v1/track", json=call)).json()["quarantined"][0]
    held = await db.fetchval("SELECT id FROM quarantine WHERE message_id = $1", message)
    assert (await api.post(f"/v1/quarantine/{held}/replay")).status_code == 409


@pytest.mark.parametrize("kind", ["track", "identify", "group", "alias"])
async def test_a_user_without_hash_and_without_visitor_is_held_with_200(api, web, db, kind):
    user, message = fresh("user"), fresh("m")
    call = {**VIEW, "userId": user, "groupId": "acme", "messageId": message}
    sent = await web.post(f"/v1/{kind}", json={**call, **({"previousId": user} if kind == "alias" else {})})
    assert sent.status_code == 200
    if kind == "alias":
        assert await person(db, user) is not None, "the previous id is the visitor"
        return
    assert "userHash" in sent.json()["quarantined"][0]
    assert await person(db, user) is None
    held = await db.fetchval("SELECT id FROM quarantine WHERE message_id = $1", message)
    assert (await api.post(f"/v1/quarantine/{held}/replay")).status_code == 409


@pytest.mark.parametrize("field", ["role", "plan", "is_admin", "email"])
async def test_a_field_that_the_key_may_not_write_is_left_out_and_noted(api, web, key, db, field):
    """A library sends all traits that it has: the event counts, with the fields that are public."""
    user, message = fresh("user"), fresh("m")
    await api.post("/v1/identify", json={"userId": user, "traits": VICTIM})
    call = {**proof(key, user), "messageId": message, "traits": {field: "x@evil.example", "locale": "fr"}}
    assert (await web.post("/v1/identify", json=call)).json() == {"success": True}
    _, _, data, context = await event(db, message)
    assert data == {"locale": "fr"}, "nothing of it can become a field later"
    (note,) = context["$notes"]
    assert note.startswith(f"traits/{field} was left out: a public key may not")
    assert (await api.get(f"/v1/users/{user}")).json()["profile"] == {**VICTIM, "locale": "fr"}


async def test_a_sender_cannot_write_claims_and_notes(api, web, db):
    for client, message in ((web, fresh("m")), (api, fresh("m"))):
        context = {"$claims": {"userId": "forged"}, "$notes": ["forged"], "locale": "de"}
        await client.post("/v1/page", json={"anonymousId": fresh("v"), "messageId": message, "context": context})
        assert (await event(db, message))[3] == {"locale": "de"}


async def test_a_refusal_with_a_claim_counts_for_the_visitor_alone(api, web):
    user, visitor = fresh("user"), fresh("visitor")
    await api.post("/v1/identify", json={"userId": user, "traits": VICTIM})
    call = {"event": "Unsubscribed", "properties": {}, "userId": user, "anonymousId": visitor}
    assert (await web.post("/v1/track", json=call)).status_code == 200
    assert [item["granted"] for item in (await api.get(f"/v1/users/{visitor}/consents")).json()["items"]] == [False]
    assert (await api.get(f"/v1/users/{user}/consents")).json()["items"] == []


LOOKED = """journey: looked
entry: {on: pricing_viewed}
goal: {on: activated, within: P30D}
exit: [{on: account_closed}]
topic: onboarding
on: {setup_completed: there}
start: here
states:
  here: {}
  there: {final: done}
"""


async def test_a_claim_opens_a_run_of_the_visitor_and_none_of_the_user(api, web, key, db):
    published = await api.put("/v1/journeys/looked", content=LOOKED)
    assert published.is_success, published.text
    user, visitor, device = fresh("user"), fresh("visitor"), fresh("device")
    await api.post("/v1/identify", json={"userId": user, "anonymousId": device, "traits": VICTIM})
    for anonymous in (visitor, device):
        await web.post("/v1/track", json={**VIEW, "userId": user, "anonymousId": anonymous})
    rows = await db.fetch("SELECT lane FROM runs WHERE journey = 'looked'")
    assert {row["lane"] for row in rows} == {await person(db, visitor), await person(db, f"claimed:{device}")}
    await web.post("/v1/track", json={**VIEW, **proof(key, user), "anonymousId": device})
    rows = await db.fetch("SELECT lane FROM runs WHERE journey = 'looked'")
    assert await person(db, user) in {row["lane"] for row in rows}
