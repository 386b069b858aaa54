"""`@segment/analytics-next` unchanged in a real browser, on a page of another origin than the API.

It takes its settings from the API as from Segment's CDN. Each test opens a page in a fresh profile.
"""

from __future__ import annotations

import asyncio
import http.server
import json
import shutil
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Request, async_playwright
from sqlalchemy import make_url

from journeys.access.user_hash import user_hash
from tests.support.api import OPERATE, application, served
from tests.support.client_libraries import node_libraries

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
BUNDLE = Path("@segment") / "analytics-next" / "dist" / "umd"
PAGE = '<!doctype html><html lang="en"><title>Shop</title><script src="/index.js"></script>'
BATCHING = {"strategy": "batching", "config": {"size": 3, "timeout": 60_000}}
FIRST_CALLS = """
async calls => {
  for (const [name, ...values] of calls) await window.analytics[name](...values)
}
"""


@dataclass
class Visit:
    """A page with the library, and what it sent to the API."""

    page: Page
    sent: list[Request] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    async def load(self, key: str, url: str, delivery: Any = None, **options: Any) -> str:
        """Load the library with its settings from the API; the visitor's id."""
        destination = {"Segment.io": {"deliveryStrategy": delivery}} if delivery else {}
        given = json.dumps([{"writeKey": key, "cdnURL": url}, {"integrations": destination, **options}])
        await self.page.evaluate(
            f"async () => {{ window.analytics = AnalyticsNext.AnalyticsBrowser.load(...{given}); await window.analytics }}"
        )
        return str(await self.page.evaluate("async () => (await window.analytics.user()).anonymousId()"))

    async def call(self, *calls: tuple[Any, ...]) -> None:
        await self.page.evaluate(FIRST_CALLS, [list(call) for call in calls])

    async def answers(self) -> list[tuple[str, int]]:
        """Path and status of each POST that was answered."""
        found = [(httpx.URL(request.url).path, await request.response()) for request in self.sent]
        return [(path, response.status) for path, response in found if response is not None]


@pytest.fixture(scope="module")
def url(module_database_url: str) -> Iterator[str]:
    with served(application(module_database_url)) as address:
        yield address


@pytest_asyncio.fixture(scope="module")
async def db(module_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    address = make_url(module_database_url)
    connection = await asyncpg.connect(
        user=address.username, password=address.password, host=address.query["host"], database=address.database
    )
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
def key(url: str) -> dict[str, Any]:
    with httpx.Client(base_url=url, auth=(OPERATE, "")) as api:
        made = api.post("/v1/keys", json={"name": "browser", "kind": "public", "source": "browser"}).raise_for_status()
        return dict(made.json())


@pytest.fixture(scope="module")
def shop() -> Iterator[str]:
    """A server of pages with the library's own bundle; its origin is not the API's."""
    folder = node_libraries() / BUNDLE

    class Pages(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.endswith(".js"):
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(PAGE.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is logged."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Pages, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest_asyncio.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        await launched.close()


@pytest_asyncio.fixture
async def visit(browser: Browser, shop: str, url: str) -> AsyncIterator[Visit]:
    page = await browser.new_page()
    made = Visit(page)
    page.on("request", lambda request: made.sent.append(request) if request.method == "POST" else None)
    page.on("console", lambda message: made.errors.append(message.text) if message.type == "error" else None)
    await page.goto(shop)
    yield made
    await page.close()


async def rows(db: Any, visitor: str, number: int) -> list[dict[str, Any]]:
    """The visitor's events, once there are so many."""
    for _ in range(100):
        found = await db.fetch(
            "SELECT e.message_id, e.kind, e.name, e.data, e.context, e.source FROM events e JOIN identities i ON i.subject_key = e.subject_key"
            " WHERE i.value = $1 ORDER BY e.id",
            visitor,
        )
        if len(found) >= number:
            break
        await asyncio.sleep(0.05)
    return [{**row, "context": json.loads(row["context"] or "{}"), "data": json.loads(row["data"])} for row in found]


CALLS: list[tuple[Any, ...]] = [
    ("page", "Pricing"),
    ("track", "Feature Used", {"feature": "export"}),
    ("identify", "u-42", {"email": "ada@example.com", "name": "Ada", "plan": "enterprise", "locale": "de"}),
    ("group", "acme", {"name": "Acme"}),
    ("alias", "u-43"),
]


async def test_events_are_sent_one_by_one_and_what_they_claim_stays_with_the_visitor(visit, url, key, db):
    visitor = await visit.load(key["secret"], url)
    await visit.call(*CALLS)
    found = await rows(db, visitor, len(CALLS))
    assert [path for path, _ in await visit.answers()] == ["/v1/p", "/v1/t", "/v1/i", "/v1/g", "/v1/a"]
    assert {status for _, status in await visit.answers()} == {200}
    assert {(await request.all_headers())["content-type"] for request in visit.sent} == {"text/plain"}
    assert [row["kind"] for row in found] == ["page", "track", "identify", "identify", "identify"]
    assert [row["name"] for row in found[:2]] == ["pricing_viewed", "feature_used"]
    assert {row["source"] for row in found} == {"segment:browser"}
    named = {call["messageId"]: call for call in (request.post_data_json for request in visit.sent)}
    for row in found[2:]:
        call = named[row["message_id"]]
        claims = {name: call[name] for name in ("userId", "groupId", "previousId") if call.get(name)}
        assert row["context"]["$claims"] == claims
    assert found[2]["data"] == {"email": "ada@example.com", "locale": "de"}, "with the public fields"
    assert await db.fetchval("SELECT count(*) FROM identities WHERE value IN ('u-42', 'u-43', 'acme')") == 0
    assert await db.fetchval("SELECT count(*) FROM quarantine") == 0
    assert visit.errors == []


async def test_events_are_sent_in_batches_and_the_last_ones_when_the_page_is_left(visit, url, key, shop, db):
    visitor = await visit.load(key["secret"], url, BATCHING)
    await visit.call(*[("track", "Feature Used", {"feature": str(number)}) for number in range(4)])
    await visit.page.goto(f"{shop}/next")
    found = await rows(db, visitor, 4)
    assert sorted(row["data"]["feature"] for row in found) == ["0", "1", "2", "3"]
    assert {httpx.URL(request.url).path for request in visit.sent} == {"/v1/b"}
    assert visit.errors == []


async def test_a_user_with_their_hash_is_known_from_the_browser(visit, url, key, db):
    visitor, user = await visit.load(key["secret"], url), f"u-{uuid.uuid4().hex}"
    proof = {"context": {"userHash": user_hash(key["identity_secret"], user)}}
    await visit.call(("page", "Home"), ("identify", user, {"locale": "fr"}, proof))
    assert len(await rows(db, visitor, 2)) == 2
    keys = await db.fetch("SELECT DISTINCT subject_key FROM identities WHERE value = ANY($1)", [visitor, user])
    assert len(keys) == 1
    assert await db.fetchval("SELECT count(*) FROM events WHERE context::text LIKE '%userHash%'") == 0


async def test_without_consent_the_library_sends_nothing(visit, url, key):
    """The page disables the library, as consent tools do."""
    await visit.load(key["secret"], url, disable=True)
    await visit.call(*CALLS[:2])
    await visit.page.wait_for_load_state("networkidle")
    assert visit.sent == []


async def test_a_beacon_that_has_no_headers_is_taken(visit, url, key, db):
    call = {
        "anonymousId": f"v-{uuid.uuid4().hex}",
        "writeKey": key["secret"],
        "name": "Pricing",
        "messageId": uuid.uuid4().hex,
    }
    assert await visit.page.evaluate(
        "([url, text]) => navigator.sendBeacon(url, text)", [f"{url}/v1/p", json.dumps(call)]
    )
    assert len(await rows(db, call["anonymousId"], 1)) == 1


async def test_a_page_of_an_origin_that_is_not_allowed_can_send_nothing(browser, shop, module_database_url, key, db):
    with served(application(module_database_url, browser_origins=("https://www.shop.example",))) as limited:
        page = await browser.new_page()
        await page.goto(shop)
        visitor = f"v-{uuid.uuid4().hex}"
        body = json.dumps({"anonymousId": visitor, "writeKey": key["secret"], "name": "Pricing"})
        for headers in ({}, {"authorization": "Basic eDo="}):
            sent = await page.evaluate(
                "([url, body, headers]) => fetch(url, {method: 'POST', body, headers}).then(() => 'read', () => 'blocked')",
                [f"{limited}/v1/p", body, headers],
            )
            assert sent == "blocked"
        await page.close()
    assert await db.fetchval("SELECT count(*) FROM identities WHERE value = $1", visitor) == 0
