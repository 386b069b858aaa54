"""The feed over HTTP: contiguous signed pages, and the operator's view of the push."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from activities.outgoing.standard_webhooks import signing
from api.app import build_app
from api.http.limits import Limits
from store.database import Database
from store.retention.feed import prune_feed
from tests.support.api import OPERATE, WRITE, application, client
from tests.support.databases import Databases
from tests.support.live_stack import wait_until_certain
from worker.composition.api import application_parts
from worker.settings import Settings

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
INSERT = """
    INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority,
      at, status, decided_at, reasons)
    SELECT 'f' || n, 'r', 1, 'u', 'u', 'j', 's', 1, 'a', 't', '[]', 'lifecycle', now(), 'withheld', clock_timestamp(),
      '[{"code": "capped", "rule": "three", "text": "ada@example.com had three"}]'
    FROM generate_series(1, 12) AS n
"""


@pytest_asyncio.fixture(scope="session")
async def databases(databases_of_own_server: Databases) -> Databases:
    """A server of its own: the feed waits for the oldest transaction of all of PostgreSQL, also another test's."""
    return databases_of_own_server


@pytest_asyncio.fixture(scope="module")
async def api(module_database_url, db):
    await db.execute(INSERT)
    database = Database(module_database_url)
    await wait_until_certain(database)
    await database.close()
    async with client(application(module_database_url, sign=signing(SECRET))) as made:
        yield made


async def test_pages_join_without_gap_or_overlap(api, db):
    lines, after, more = [], 0, True
    while more:
        page = (await api.get("/v1/feed", params={"after": after, "limit": 5})).json()
        assert (page["schema"], page["after"]) == (1, after)
        lines += page["items"]
        after, more = page["next"], page["more"]
    assert [line["id"] for line in lines] == [row["id"] for row in await db.fetch("SELECT id FROM feed ORDER BY id")]
    assert lines[0]["reasons"] == [{"code": "capped", "rule": "three"}], "the text of a reason may name a person"
    empty = (await api.get("/v1/feed", params={"after": after})).json()
    assert (empty["items"], empty["next"], empty["more"]) == ([], after, False)


def verify(text, headers):
    """Verify by the library. It also parses the body as JSON, which NDJSON is not: there only the signature counts."""
    try:
        Webhook(SECRET).verify(text, headers)
    except json.JSONDecodeError:
        assert len(text.splitlines()) > 1


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
async def test_a_page_is_signed_over_its_bytes_and_its_position(api, accept):
    page = await api.get("/v1/feed", params={"limit": 5}, headers={"accept": accept})
    assert page.headers["content-type"].startswith(accept)
    signed = {name: page.headers[name] for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
    verify(page.text, signed)
    assert signed["webhook-id"] == f"feed_0_{page.headers['x-tenure-next']}"
    with pytest.raises(WebhookVerificationError):
        verify(page.text.replace("withheld", "sent"), signed)
    with pytest.raises(WebhookVerificationError):
        verify(page.text, {**signed, "webhook-id": "feed_5_10"})


async def test_ndjson_lines_are_the_items_of_the_page(api):
    page = (await api.get("/v1/feed", params={"limit": 5})).json()
    lines = await api.get("/v1/feed", params={"limit": 5}, headers={"accept": "application/x-ndjson"})
    assert [json.loads(line) for line in lines.text.splitlines()] == page["items"]
    assert lines.headers["x-tenure-next"] == str(page["next"])
    assert lines.headers["x-tenure-more"] == "true"


async def test_the_write_key_may_not_read_the_feed(api):
    refused = await api.get("/v1/feed", auth=(WRITE, ""))
    assert refused.status_code == 403


async def test_an_operator_reads_the_lag_of_the_push_and_makes_it_retry_now(api, db):
    before = (await api.get("/v1/feed/push")).json()
    assert before["position"] == 0
    assert before["newest"] == 12
    assert before["lag_seconds"] > 0
    assert (await api.post("/v1/feed/push/retry")).status_code == 409
    due = datetime.now(UTC) + timedelta(hours=20)
    await db.execute("UPDATE feed_push SET attempts = 7, upto = 5, due_at = $1, last_error = 'answered 503'", due)
    after = (await api.post("/v1/feed/push/retry")).json()
    assert datetime.fromisoformat(after["due_at"]) <= datetime.now(UTC)
    assert after["last_error"] == "answered 503"


async def test_the_process_signs_with_the_secret_of_its_settings(module_database_url, api, monkeypatch):
    monkeypatch.setenv("TENURE_FEED_SECRET", SECRET)
    configured_app = build_app(
        application_parts(Settings(operator_key=OPERATE), Database(module_database_url), Limits())
    )
    async with client(configured_app) as configured:
        page = await configured.get("/v1/feed", params={"limit": 2})
    assert Webhook(SECRET).verify(page.text, dict(page.headers)) == page.json()


async def test_pages_are_not_signed_without_a_secret(module_database_url, api):
    async with client(application(module_database_url)) as unsigned:
        page = await unsigned.get("/v1/feed")
    assert page.status_code == 200
    assert "webhook-signature" not in page.headers


async def test_a_cursor_before_deleted_lines_is_gone_and_the_beginning_is_the_oldest_line_there_is(database_url):
    async with client(application(database_url)) as api:
        database = Database(database_url)
        async with database.transaction() as connection:
            await connection.execute(INSERT)
        await wait_until_certain(database)
        async with database.transaction() as connection:
            deleted = await prune_feed(connection, datetime.now(UTC) + timedelta(days=1), pushed=False)
            await connection.execute("UPDATE messages SET attempts = attempts + 1 WHERE key = 'f1'")
        assert deleted == (12, False)
        await wait_until_certain(database)
        await database.close()
        refused = await api.get("/v1/feed", params={"after": 11})
        assert (refused.status_code, refused.json()["type"]) == (410, "urn:tenure:problem:gone")
        for after in (0, 12):
            page = (await api.get("/v1/feed", params={"after": after})).json()
            assert [line["message"]["key"] for line in page["items"]] == ["f1"]
