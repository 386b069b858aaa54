"""A browser with a front token reads only the in-app messages of its person (C1)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from api.http.limits import Limits
from journeys.consent.rules import DEV_BASE, DEV_KEY
from journeys.tokens.inbox_tokens import inbox_token
from journeys.tokens.signed_links import Link, Links
from store.database import Database
from store.inbox import items as inbox_items
from tests.support.api import OPERATE, WRITE, application, served

AT = datetime(2026, 5, 3, 10, tzinfo=UTC)


@pytest_asyncio.fixture(scope="module")
async def message_ids(api, db, module_database_url) -> dict[str, str]:
    """One message in each of three inboxes: its id by user."""
    database, ids = Database(module_database_url), {}
    for user in ("ada", "eve", "cyd"):
        await api.post(f"/v1/users/{user}/signals", json={"name": "pricing_viewed"})
        person = await db.fetchval("SELECT subject_key FROM identities WHERE value = $1", user)
        async with database.transaction() as connection:
            await inbox_items.put_item(
                connection, f"of-{user}", person, {"kind": "message", "title": f"for {user}"}, AT
            )
        ids[user] = str(await db.fetchval("SELECT ref FROM inbox WHERE key = $1", f"of-{user}"))
    await database.close()
    return ids


@pytest_asyncio.fixture
async def browser(app) -> AsyncIterator[httpx.AsyncClient]:
    """A client without any key."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as made:
        yield made


async def token(client: httpx.AsyncClient, user: str, **body: Any) -> str:
    made = await client.post(f"/v1/users/{user}/front-token", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["token"])


def bearer(given: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {given}"}


def expired_token(person: str) -> str:
    return inbox_token((DEV_KEY,), person, datetime.now(UTC) - timedelta(seconds=1))


async def test_a_front_token_reads_and_marks_only_its_persons_messages(api, browser, message_ids, db):
    of_ada = await token(api, "ada")
    for options in ({"headers": bearer(of_ada)}, {"params": {"token": of_ada}}):
        shown = await browser.get("/v1/front/inbox", **options)
        assert [item["content"]["title"] for item in shown.json()["items"]] == ["for ada"]
        assert shown.headers["access-control-allow-origin"] == "*"
    marked = await browser.post(f"/v1/front/inbox/{message_ids['ada']}/acted", headers=bearer(of_ada))
    assert marked.json()["acted_at"] is not None
    for interaction in ("seen", "acted", "dismissed"):
        refused = await browser.post(f"/v1/front/inbox/{message_ids['eve']}/{interaction}", headers=bearer(of_ada))
        assert refused.status_code == 404
    assert await db.fetchval("SELECT seen_at FROM inbox WHERE ref = $1", message_ids["eve"]) is None
    assert await db.fetchval("SELECT count(*) FROM events WHERE data->>'message' = 'of-eve'") == 0


async def test_front_tokens_api_keys_and_signed_links_are_not_interchangeable(api, browser, message_ids, db):
    of_ada = await token(api, "ada")
    for path in ("/v1/users/ada/inbox", "/v1/users/eve/inbox", "/v1/users/ada/messages", "/v1/tasks"):
        assert (await browser.get(path, headers=bearer(of_ada))).status_code == 401
    assert (await browser.post("/v1/users/eve/front-token", json={}, headers=bearer(of_ada))).status_code == 401
    assert (await browser.post("/v1/track", json={}, headers=bearer(of_ada))).status_code == 401
    person = await db.fetchval("SELECT subject_key FROM identities WHERE value = 'ada'")
    link = Links(DEV_BASE, (DEV_KEY,)).token(Link("preferences", person), datetime.now(UTC))
    for given in (OPERATE, WRITE, link):
        assert (await browser.get("/v1/front/inbox", headers=bearer(given))).status_code == 401
    assert (await browser.get(f"/p/{of_ada}")).status_code == 404


@pytest.mark.parametrize("way", ["no", "changed", "cut", "over", "another key", "odd"])
async def test_a_missing_changed_expired_or_foreign_token_gets_401(api, browser, message_ids, db, way):
    of_ada = await token(api, "ada")
    person, soon = "u_1", datetime.now(UTC) + timedelta(minutes=5)
    changed = of_ada[:4] + ("A" if of_ada[4] != "A" else "B") + of_ada[5:]
    given = {
        "no": "",
        "changed": changed,
        "cut": of_ada[:-1],
        "over": expired_token(person),
        "another key": inbox_token(("x" * 32,), person, soon),
        "odd": "\u00e9" * 40,
    }[way]
    for path in ("/v1/front/inbox", "/v1/front/inbox/stream"):
        refused = await browser.get(path, params={"token": given})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "*"
        assert refused.json()["type"] == "urn:tenure:problem:unauthenticated"


async def test_a_front_token_is_made_by_an_operator_for_a_known_user_and_an_hour_at_most(sender, api, message_ids):
    assert (await api.post("/v1/users/nobody-knows/front-token", json={})).status_code == 404
    assert (await api.post("/v1/users/ada/front-token", json={"minutes": 61})).status_code == 422
    refused = await sender.post("/v1/users/ada/front-token", json={})
    assert refused.status_code == 403, "write keys are in every app of the company, so they must not read inboxes"
    made = (await api.post("/v1/users/ada/front-token", json={"minutes": 60})).json()
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(minutes=60)


async def test_cors_allows_pages_of_another_origin(browser, message_ids):
    for path in ("/v1/front/inbox", "/v1/front/inbox/stream", f"/v1/front/inbox/{message_ids['ada']}/seen"):
        answer = await browser.options(path, headers={"Origin": "https://app.example"})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "Authorization" in answer.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in answer.headers


async def test_a_stream_by_token_is_limited_to_its_person_its_lifetime_and_a_count(
    module_database_url, api, message_ids, db
):
    person = await db.fetchval("SELECT subject_key FROM identities WHERE value = 'cyd'")
    front = application(module_database_url, limits=Limits(streams_of_one=1))
    with served(front) as url:
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=4)
        short = inbox_token((DEV_KEY,), person, until)
        async with httpx.AsyncClient(base_url=url, timeout=20) as made:
            query = {"token": short}
            async with made.stream("GET", "/v1/front/inbox/stream", params=query) as response:
                assert response.headers["content-type"].startswith("text/event-stream")
                lines = response.aiter_lines()
                first_item = await _first(lines)
                assert first_item["content"]["title"] == "for cyd"
                refused = await made.get("/v1/front/inbox/stream", params=query)
                assert refused.status_code == 429
                async with asyncio.timeout(10):
                    rest = [line async for line in lines]  # it ends by itself
                assert datetime.now(UTC) >= until
                assert not any("for eve" in line for line in rest)
            again = await token(api, "cyd", minutes=1)
            async with made.stream("GET", "/v1/front/inbox/stream", params={"token": again}) as response:
                assert response.status_code == 200
        front.end_streams()


async def _first(lines: AsyncIterator[str]) -> dict[str, Any]:
    async with asyncio.timeout(10):
        async for line in lines:
            if line.startswith("data: "):
                item: dict[str, Any] = json.loads(line[6:])
                return item
    raise AssertionError("the stream ended")


async def test_a_visitors_token_does_not_open_the_inbox_of_the_user_they_are_taken_for(api, browser, message_ids):
    await api.post("/v1/identify", json={"anonymousId": "eves-device", "traits": {"plan": "free"}})
    of_visitor = await token(api, "eves-device")
    assert (await browser.get("/v1/front/inbox", headers=bearer(of_visitor))).json()["items"] == []
    joined = {"previousId": "eves-device", "userId": "ada"}
    assert (await api.post("/v1/alias", json=joined)).status_code == 200
    for path in ("/v1/front/inbox", "/v1/front/inbox/stream"):
        refused = await browser.get(path, headers=bearer(of_visitor))
        assert (refused.status_code, "signed in since" in refused.text) == (401, True)
    marked = await browser.post(f"/v1/front/inbox/{message_ids['ada']}/dismissed", headers=bearer(of_visitor))
    assert marked.status_code == 401
    assert (await browser.get("/v1/front/inbox", headers=bearer(await token(api, "ada")))).status_code == 200
