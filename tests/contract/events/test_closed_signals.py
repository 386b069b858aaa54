"""Closed signals: no interface accepts one from a sender who may not send it. A single call is refused, one of a batch is held."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from journeys.language.signal_names import PLATFORM_SIGNALS, PROVIDER_SIGNALS
from tests.support.api import CATALOG

LINK = "https://evil.example/login"
PROPERTIES = {
    "consent_requested": {"request": "1", "channel": "email", "topic": "Your account was hacked", "link": LINK},
    "consent_confirmed": {"request": "1", "channel": "email", "topic": "offers"},
    "message_bounced": {"address": "victim@example.com", "kind": "hard", "message": "1"},
}
REACTION = {"message": "1", "action": "a", "template": "t", "journey": "j", "channel": "email", "link": 0, "by": "x"}
INTERFACES = ("track", "batch", "user signal", "account signal")


@pytest.fixture(scope="module")
async def published(api):
    text = (CATALOG / "journeys" / "confirm-consent.yaml").read_bytes()
    (await api.put("/v1/journeys/confirm-consent", content=text)).raise_for_status()


async def enter(client, interface: str, user: str, name: str) -> list[str]:
    """Send a signal through this interface; the reasons for which it is refused or held."""
    data = {**REACTION, "webinar_id": "7", **PROPERTIES.get(name, {})}
    call = {"userId": user, "event": name, "properties": data}
    if interface == "track":
        return reasons(await client.post("/v1/track", json=call))
    if interface == "batch":
        answer = await client.post("/v1/batch", json={"batch": [{"type": "track", **call}]})
        return ["held"] * int(answer.json()["quarantined"])
    kind = "users" if interface == "user signal" else "accounts"
    return reasons(await client.post(f"/v1/{kind}/{user}/signals", json={"name": name, "data": data}))


def reasons(answer: httpx.Response) -> list[str]:
    if answer.status_code == 403:
        return [answer.json()["detail"]]
    answer.raise_for_status()
    return list(answer.json().get("quarantined", ()))


async def names_of(db, name: str) -> int:
    return int(await db.fetchval("SELECT count(*) FROM events WHERE name = $1", name))


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("name", sorted(PLATFORM_SIGNALS))
async def test_a_signal_of_the_platform_is_refused_with_either_key(published, api, sender, db, interface, name):
    for key, client in (("write", sender), ("operator", api)):
        before = await names_of(db, name)
        assert await enter(client, interface, f"{key}-victim", name), f"{interface} lets {name} in with the {key} key"
        assert await names_of(db, name) == before


@pytest.mark.parametrize("name", sorted(PLATFORM_SIGNALS))
async def test_a_signal_of_the_platform_that_fails_the_plan_is_refused_and_not_held(published, api, sender, db, name):
    before = await db.fetchval("SELECT count(*) FROM quarantine")
    for client in (sender, api):
        tracked = await client.post("/v1/track", json={"userId": "victim", "event": name, "properties": {}})
        signalled = await client.post("/v1/users/victim/signals", json={"name": name, "data": {}})
        assert (tracked.status_code, signalled.status_code) == (403, 403)
    assert await db.fetchval("SELECT count(*) FROM quarantine") == before


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("name", sorted(PROVIDER_SIGNALS))
async def test_an_outcome_of_a_provider_is_refused_with_the_write_key_and_accepted_with_the_operators(
    api, sender, db, interface, name
):
    before = await names_of(db, name)
    assert await enter(sender, interface, "someone", name)
    assert await names_of(db, name) == before
    assert not await enter(api, interface, "someone", name)
    assert await names_of(db, name) == before + 1


async def test_a_forged_confirmation_request_opens_no_run_and_suppresses_nobody(published, api, sender, db):
    traits = {"userId": "target", "traits": {"email": "target@example.com"}}
    (await sender.post("/v1/identify", json=traits)).raise_for_status()
    before = await db.fetchval("SELECT count(*) FROM suppressions")
    for interface in INTERFACES[:3]:
        for name in ("consent_requested", "message_bounced"):
            await enter(sender, interface, "target", name)
    assert (await api.get("/v1/users/target/journeys")).json()["items"] == []
    assert await db.fetchval("SELECT count(*) FROM suppressions") == before


async def test_replaying_a_held_signal_does_not_give_it_the_operators_rights(api, sender, db):
    before = await names_of(db, "message_bounced")
    call: dict[str, Any] = {"userId": "replayed", "event": "Email Bounced", "properties": PROPERTIES["message_bounced"]}
    element = {**call, "type": "track", "messageId": "replayed-1"}
    (await sender.post("/v1/batch", json={"batch": [element]})).raise_for_status()
    (held,) = [
        item
        for item in (await api.get("/v1/quarantine?name=Email%20Bounced")).json()["items"]
        if item["message_id"] == "replayed-1"
    ]
    refused = await api.post(f"/v1/quarantine/{held['id']}/replay")
    assert (refused.status_code, "operator's key" in refused.text) == (409, True)
    assert (await api.post("/v1/quarantine:replay", params={"name": "Email Bounced"})).json()["replayed"] == 0
    assert await names_of(db, "message_bounced") == before
