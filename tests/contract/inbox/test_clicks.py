"""A tracked link redirects only to its target; a click of a person is a signal, one of a machine is not (M1)."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from activities.content.templates import load_templates
from activities.content.tracked_links import ClickLinks
from activities.preview import ContentPreview
from tests.support.api import CATALOG, application

LINKS = ClickLinks(("a secret of at least sixteen",), "https://l.example")
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
TO = "https://app.example.com/setup?a=1&b=ü x"
JOURNEY_ON_CLICKS = """
journey: hears-clicks
subject: user
entry: {on: signed_up}
goal: {on: activated, within: P30D}
exit: [{on: account_closed}]
topic: onboarding
start: here
states:
  here:
    do: [{send: setup/first-steps, name: hello, via: email}]
    on:
      message_clicked: {to: interested, when: event.template == "setup/first-steps"}
  interested: {final: interested}
"""


@pytest.fixture(scope="module")
def app(module_database_url):
    desk = ContentPreview(templates=lambda: load_templates(CATALOG / "templates"), links=LINKS)
    return application(module_database_url, desk=desk)


@pytest_asyncio.fixture(scope="module")
async def web(api, app) -> AsyncIterator[httpx.AsyncClient]:
    """A browser: no key, no redirects followed."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://l", headers=BROWSER) as made:
        yield made


@pytest_asyncio.fixture
async def sent_mail(api, db):
    """Insert a message with links that was sent `ago` seconds ago."""

    async def put(user: str, key: str, links: list[dict[str, Any]], ago: float = 60, reference: str = "") -> None:
        await api.post(f"/v1/users/{user}/signals", json={"name": "signed_up"})
        person = await db.fetchval("SELECT subject_key FROM identities WHERE value = $1", user)
        sent = datetime.now(UTC) - timedelta(seconds=ago)
        await db.execute(
            """INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via,
                 priority, at, status, decided_at, channel, summary, sent_at, reference)
               VALUES ($1, 'r', 1, $2, $2, 'j', 's', 1, 'hello', 'setup/first-steps', '["email"]', 'lifecycle', $3,
                 'sent', $3, 'email', $4, $3, $5)""",
            key, person, sent, json.dumps({"links": links}), reference or None,
        )  # fmt: skip

    return put


async def clicks(db, key: str) -> list[dict[str, Any]]:
    rows = await db.fetch("SELECT data FROM events WHERE name = 'message_clicked' AND data->>'message' = $1", key)
    return [json.loads(item["data"]) for item in rows]


async def test_M1_a_click_redirects_and_becomes_a_signal_for_journeys(api, web, db, sent_mail):
    assert (await api.put("/v1/journeys/hears-clicks", content=JOURNEY_ON_CLICKS)).status_code == 201
    await sent_mail("ada", "m-1", [{"url": TO}])
    answer = await web.get(f"/c/{LINKS.token('m-1', 0)}")
    assert (answer.status_code, answer.headers["location"]) == (302, "https://app.example.com/setup?a=1&b=%C3%BC%20x")
    assert answer.headers["cache-control"] == "no-store"
    expected = {
        "message": "m-1",
        "action": "hello",
        "template": "setup/first-steps",
        "journey": "j",
        "channel": "email",
    }
    assert await clicks(db, "m-1") == [{**expected, "link": 0}]
    assert await db.fetchval("SELECT count(*) FROM outbox WHERE name = 'message_clicked'") == 1


async def test_M1_a_link_with_the_hash_of_a_message_records_a_click_of_its_key(web, db, sent_mail):
    digest = hashlib.sha256(b"m-6").hexdigest()
    await sent_mail("cy", "m-6", [{"url": TO}], reference=digest)
    for _ in range(2):
        assert (await web.get(f"/c/{LINKS.token(digest, 0)}")).status_code == 302
    assert [click["message"] for click in await clicks(db, "m-6")] == ["m-6"]
    assert (await web.get(f"/c/{LINKS.token(hashlib.sha256(b'another').hexdigest(), 0)}")).status_code == 404


async def test_M1_a_second_click_soon_after_is_not_counted_and_a_later_one_is(web, db, sent_mail):
    await sent_mail("bo", "m-2", [{"url": TO}, {"url": "https://other.example/"}])
    await asyncio.gather(*(web.get(f"/c/{LINKS.token('m-2', 0)}") for _ in range(8)))
    assert len(await clicks(db, "m-2")) == 1
    await web.get(f"/c/{LINKS.token('m-2', 1)}")
    assert len(await clicks(db, "m-2")) == 2
    await db.execute("UPDATE clicks SET last_at = last_at - interval '6 minutes' WHERE message = 'm-2'")
    await web.get(f"/c/{LINKS.token('m-2', 0)}")
    assert len(await clicks(db, "m-2")) == 3


MACHINES = [
    {"User-Agent": ""},
    {"User-Agent": "Mozilla/5.0 (compatible; bingbot/2.0)"},
    {"User-Agent": "Barracuda Sentinel (EE)"},
    {"User-Agent": "Mozilla/5.0 (Windows NT 10.0) HeadlessChrome/140"},
    {"User-Agent": "python-requests/2.32"},
    {"User-Agent": "Slackbot-LinkExpanding 1.0"},
    {"Sec-Purpose": "prefetch;prerender"},
    {"Purpose": "prefetch"},
    {"X-Moz": "prefetch"},
    {"Sec-Fetch-Mode": "no-cors"},
]


@pytest.mark.parametrize("headers", MACHINES, ids=str)
async def test_M1_a_click_by_a_machine_redirects_and_is_not_counted(web, db, sent_mail, headers):
    key = f"m-machine-{MACHINES.index(headers)}"
    await sent_mail("machine", key, [{"url": TO}])
    assert (await web.get(f"/c/{LINKS.token(key, 0)}", headers=headers)).status_code == 302
    assert await clicks(db, key) == []


async def test_M1_a_head_request_and_a_click_right_after_sending_are_not_counted(web, db, sent_mail):
    await sent_mail("looker", "m-3", [{"url": TO}])
    assert (await web.head(f"/c/{LINKS.token('m-3', 0)}")).headers["location"].startswith("https://app.example.com/")
    await sent_mail("looker", "m-4", [{"url": TO}], ago=0)
    assert (await web.get(f"/c/{LINKS.token('m-4', 0)}")).status_code == 302
    assert await clicks(db, "m-3") + await clicks(db, "m-4") == []


async def test_M1_a_click_in_a_digest_counts_for_the_message_of_the_link(web, db, sent_mail):
    await sent_mail("digested", "m-part", [])
    await sent_mail("digested", "m-digest", [{"url": TO, "key": "m-part"}])
    await web.get(f"/c/{LINKS.token('m-digest', 0)}")
    assert len(await clicks(db, "m-part")) == 1
    assert await clicks(db, "m-digest") == []


@pytest.mark.parametrize(
    "token",
    [
        "nonsense",
        "https:%2F%2Fevil.example",
        "x" * 3_000,
        LINKS.token("m-5", 7),
        LINKS.token("m-5", -1),
        LINKS.token("no-such-message", 0),
        ClickLinks(("another secret of sixteen",), "https://l.example").token("m-5", 0),
    ],
)
async def test_an_invalid_link_gets_404_and_no_redirect(web, sent_mail, db, token):
    if not await db.fetchval("SELECT 1 FROM messages WHERE key = 'm-5'"):
        await sent_mail("eve", "m-5", [{"url": TO}])
    answer = await web.get(f"/c/{token}", params={"url": "https://evil.example"})
    assert answer.status_code == 404
    assert "location" not in answer.headers
    assert answer.headers["content-type"] == "application/problem+json"
