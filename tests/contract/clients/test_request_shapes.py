"""Requests of analytics libraries in the shapes of their published protocol, with the key where each of them has it.

The shapes are written after Segment's HTTP API and the open source of its libraries for browsers, Kotlin and Swift.
"""

from __future__ import annotations

import base64
import gzip
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from api.http.limits import Limits
from journeys.events.segment import BATCH_NAMES, CALL_NAMES
from tests.support.api import WRITE
from tests.support.api_keys import MadeForTests, make_api_key

CALLS: dict[str, dict[str, Any]] = {
    "track": {"type": "track", "event": "pricing_viewed", "properties": {}},
    "identify": {"type": "identify", "traits": {"locale": "de"}},
    "group": {"type": "group", "groupId": "acme", "traits": {"name": "Acme"}},
    "alias": {"type": "alias", "userId": "u-42", "previousId": "v-1"},
    "page": {"type": "page", "name": "Pricing", "properties": {"path": "/pricing", "title": "Pricing"}},
    "screen": {"type": "screen", "name": "Home", "properties": {}},
}


@pytest_asyncio.fixture(scope="module")
async def key(api) -> MadeForTests:
    return await make_api_key(api, "shop", "public", source="shop")


@pytest_asyncio.fixture(scope="module")
async def client(app, api) -> AsyncIterator[httpx.AsyncClient]:
    """A library without a key of its own: each request has it where its protocol has it."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as made:
        yield made


def visitor() -> str:
    return str(uuid.uuid4())


def in_browser(kind: str, **more: Any) -> dict[str, Any]:
    """A call as `@segment/analytics-next` sends it, except its key."""
    return {
        "timestamp": "2026-11-29T10:00:00.000Z",
        "integrations": {},
        "userId": None,
        "anonymousId": visitor(),
        "context": {
            "page": {"path": "/pricing", "referrer": "", "search": "", "title": "Pricing", "url": "https://shop.example/pricing"},
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64)",
            "userAgentData": {"brands": [{"brand": "Chromium", "version": "140"}], "mobile": False, "platform": "Linux"},
            "locale": "en-US",
            "library": {"name": "analytics.js", "version": "npm:next-1.84.3"},
            "timezone": "Europe/Berlin",
        },
        "messageId": f"ajs-next-{uuid.uuid4()}",
        "sentAt": "2026-11-29T10:00:00.100Z",
        "_metadata": {"bundled": ["Segment.io"], "unbundled": [], "bundledIds": []},
        **CALLS[kind],
        **more,
    }  # fmt: skip


def in_app(kind: str, **more: Any) -> dict[str, Any]:
    """A call as the libraries for apps send it."""
    return {
        "anonymousId": visitor(),
        "messageId": str(uuid.uuid4()),
        "timestamp": "2026-11-29T10:00:00.000Z",
        "userId": "",
        "integrations": {},
        "context": {
            "app": {"name": "Shop", "version": "2.1", "namespace": "example.shop", "build": "210"},
            "device": {"id": visitor(), "manufacturer": "Acme", "model": "Phone", "name": "phone", "type": "android"},
            "library": {"name": "analytics-kotlin", "version": "1.19.1"},
            "locale": "de-AT",
            "network": {"bluetooth": False, "cellular": True, "wifi": False},
            "os": {"name": "Android", "version": "15"},
            "screen": {"density": 2.6, "height": 2_200, "width": 1_080},
            "timezone": "Europe/Vienna",
        },
        "_metadata": {"bundled": [], "unbundled": [], "bundledIds": []},
        **CALLS[kind],
        **more,
    }


def basic(secret: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{secret}:'.encode()).decode()}"}


def as_bytes(call: Any) -> bytes:
    return json.dumps(call).encode()


async def stored(db, call: dict[str, Any]) -> list[str]:
    rows = await db.fetch("SELECT kind, source FROM events WHERE message_id = $1", call["messageId"])
    return [f"{row['kind']} of {row['source']}" for row in rows]


@pytest.mark.parametrize("name", sorted(CALL_NAMES))
@pytest.mark.parametrize("place", ["head and body", "body"])
async def test_a_call_of_a_browser_is_taken_by_its_short_and_its_long_name(client, key, db, name, place):
    kind = CALL_NAMES[name]
    call = in_browser(kind, writeKey=key.secret)
    headers = {"Content-Type": "text/plain", **(basic(key.secret) if place == "head and body" else {})}
    sent = await client.post(f"/v1/{name}", content=as_bytes(call), headers=headers)
    assert (sent.status_code, sent.json()) == (200, {"success": True}), sent.text
    kept = "identify" if kind in {"alias", "group"} else kind
    assert await stored(db, call) == [f"{kept} of segment:shop"]


@pytest.mark.parametrize("name", BATCH_NAMES)
async def test_a_batch_of_a_browser_is_taken_by_each_of_its_names(client, key, db, name):
    calls = [in_browser("page", writeKey=key.secret), in_browser("track", writeKey=key.secret)]
    body = {"writeKey": key.secret, "batch": calls, "sentAt": "2026-11-29T10:00:05.000Z"}
    sent = await client.post(f"/v1/{name}", content=as_bytes(body), headers={"Content-Type": "text/plain"})
    assert (sent.status_code, sent.json()["accepted"]) == (200, 2), sent.text
    assert [await stored(db, call) for call in calls] == [["page of segment:shop"], ["track of segment:shop"]]


@pytest.mark.parametrize("place", ["head", "body"])
async def test_a_batch_of_an_app_is_compressed_with_its_key_in_head_or_body(client, key, db, place):
    calls = [in_app("screen"), in_app("track"), in_app("identify")]
    body = {
        "batch": calls,
        "sentAt": "2026-11-29T10:00:05.000Z",
        **({"writeKey": key.secret} if place == "body" else {}),
    }
    headers = {
        "Content-Type": "text/plain",
        "Content-Encoding": "gzip",
        **(basic(key.secret) if place == "head" else {}),
    }
    sent = await client.post("/v1/b", content=gzip.compress(as_bytes(body)), headers=headers)
    assert (sent.status_code, sent.json()["accepted"]) == (200, 3), sent.text
    assert [await stored(db, call) for call in calls] == [[f"{call['type']} of segment:shop"] for call in calls]


async def test_a_beacon_has_no_headers_but_its_key_and_one_character_that_no_json_may_hold(client, key, db):
    """`navigator.sendBeacon` of a text; half of a surrogate pair, as cut texts have it, rejects its own event only."""
    good, broken = in_browser("page"), in_browser("page", name="half \ud83d")
    body = {"writeKey": key.secret, "batch": [good, broken]}
    sent = await client.post("/v1/b", content=as_bytes(body), headers={"Content-Type": "text/plain;charset=UTF-8"})
    assert (sent.status_code, sent.json()["accepted"], sent.json()["quarantined"]) == (200, 1, 1), sent.text
    assert await stored(db, good) == ["page of segment:shop"]


async def test_the_key_in_the_head_counts_before_one_in_the_body(client, key, db):
    call = in_browser("page", writeKey=key.secret)
    assert (await client.post("/v1/p", content=as_bytes(call), headers=basic("wrong"))).status_code == 401
    assert (await client.post("/v1/p", content=as_bytes(call), headers=basic(WRITE))).status_code == 200
    assert await stored(db, call) == ["page of segment"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"nothing", b'{"writeKey": 7}', b'{"writeKey": "nobody"}', b'{"batch": []}']
)
@pytest.mark.parametrize("path", ["/v1/b", "/v1/batch", "/v1/t"])
async def test_a_body_without_a_valid_key_is_refused(client, path, body):
    refused = await client.post(path, content=body)
    assert (refused.status_code, refused.json()["type"]) == (401, "urn:tenure:problem:unauthenticated")


async def test_a_key_is_stored_nowhere_and_its_rotation_makes_no_other_event(client, api, db):
    made = await make_api_key(api, "rotated", "public", source="rotated")
    good, bad = in_browser("page"), in_browser("track", event="nobody knows this")
    for secret in (made.secret, (await api.post(f"/v1/keys/{made.view['id']}/rotate", json={})).json()["secret"]):
        calls = [{**call, "writeKey": secret} for call in (good, bad)]
        sent = (await client.post("/v1/b", content=as_bytes({"writeKey": secret, "batch": calls}))).json()
        assert [fault["messageId"] for fault in sent.get("errors", [])] in ([], [bad["messageId"]]), sent
    assert sent["duplicates"] == 2, "a client that sends again has its new key"
    for table in ("events", "quarantine"):
        rows = await db.fetch(f"SELECT to_jsonb(t)::text AS row FROM {table} t WHERE source = 'segment:rotated'")
        assert rows
        assert not any("tenure_pk_" in row["row"] or "writeKey" in row["row"] for row in rows)


async def test_a_call_that_is_too_large_for_its_route_is_refused_before_its_key_is_looked_for(client, key):
    call = in_browser("track", writeKey=key.secret, properties={"text": "x" * Limits().event_bytes})
    assert (await client.post("/v1/t", content=as_bytes(call))).status_code == 413


async def test_metrics_of_a_library_are_taken_without_being_read(client):
    series = {"series": [{"type": "Counter", "metric": "analytics_js.invoke", "value": 1, "tags": {"method": "track"}}]}
    taken = await client.post("/v1/m", content=as_bytes(series), headers={"Content-Type": "text/plain"})
    assert (taken.status_code, taken.headers["access-control-allow-origin"]) == (200, "*")
