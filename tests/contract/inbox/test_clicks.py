"""M1: a link of a message leads where that message led and nowhere else; a person's click is a signal, a machine's is none."""

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
HEARS = """
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
async def mail(api, db):
    """A message in the ledger with links, sent a while ago."""

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
    found = await db.fetch("SELECT data FROM events WHERE name = 'message_clicked' AND data->>'message' = $1", key)
    return [json.loads(item["data"]) for item in found]


async def test_M1_a_click_leads_on_and_is_a_signal_that_journeys_hear(api, web, db, mail):
    assert (await api.put("/v1/journeys/hears-clicks", content=HEARS)).status_code == 201
    await mail("ada", "m-1", [{"url": TO}])
    answer = await web.get(f"/c/{LINKS.token('m-1', 0)}")
    assert (answer.status_code, answer.headers["location"]) == (302, "https://app.example.com/setup?a=1&b=%C3%BC%20x")
    assert answer.headers["cache-control"] == "no-store"
    told = {"message": "m-1", "action": "hello", "template": "setup/first-steps", "journey": "j", "channel": "email"}
    assert await clicks(db, "m-1") == [{**told, "link": 0}]
    assert await db.fetchval("SELECT count(*) FROM outbox WHERE name = 'message_clicked'") == 1


async def test_M1_a_link_that_names_its_message_by_the_digest_tells_of_it_by_its_key(web, db, mail):
    digest = hashlib.sha256(b"m-6").hexdigest()
    await mail("cy", "m-6", [{"url": TO}], reference=digest)
    for _ in range(2):
        assert (await web.get(f"/c/{LINKS.token(digest, 0)}")).status_code == 302
    assert [each["message"] for each in await clicks(db, "m-6")] == ["m-6"]
    assert (await web.get(f"/c/{LINKS.token(hashlib.sha256(b'another').hexdigest(), 0)}")).status_code == 404


async def test_M1_a_second_click_within_a_short_time_is_none_and_a_later_one_is(web, db, mail):
    await mail("bo", "m-2", [{"url": TO}, {"url": "https://other.example/"}])
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
async def test_M1_a_machine_is_led_to_the_same_place_and_counts_for_nothing(web, db, mail, headers):
    key = f"m-machine-{MACHINES.index(headers)}"
    await mail("machine", key, [{"url": TO}])
    assert (await web.get(f"/c/{LINKS.token(key, 0)}", headers=headers)).status_code == 302
    assert await clicks(db, key) == []


async def test_M1_a_look_at_a_link_and_one_right_after_sending_are_no_clicks(web, db, mail):
    await mail("looker", "m-3", [{"url": TO}])
    assert (await web.head(f"/c/{LINKS.token('m-3', 0)}")).headers["location"].startswith("https://app.example.com/")
    await mail("looker", "m-4", [{"url": TO}], ago=0)
    assert (await web.get(f"/c/{LINKS.token('m-4', 0)}")).status_code == 302
    assert await clicks(db, "m-3") + await clicks(db, "m-4") == []


async def test_M1_a_click_in_a_digest_is_told_of_its_own_message(web, db, mail):
    await mail("digested", "m-part", [])
    await mail("digested", "m-digest", [{"url": TO, "key": "m-part"}])
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
async def test_a_link_that_is_not_ours_leads_nowhere(web, mail, db, token):
    if not await db.fetchval("SELECT 1 FROM messages WHERE key = 'm-5'"):
        await mail("eve", "m-5", [{"url": TO}])
    answer = await web.get(f"/c/{token}", params={"url": "https://evil.example"})
    assert answer.status_code == 404
    assert "location" not in answer.headers
    assert answer.headers["content-type"] == "application/problem+json"
