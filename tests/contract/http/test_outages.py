"""When the store is down, slow or full the API answers 503 or 429, never 500; an accepted request stays accepted."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from sqlalchemy import make_url

from api.http.limits import Limits
from api.operations.health import SECONDS
from journeys.consent.rules import DEV_KEY
from journeys.tokens.inbox_tokens import inbox_token
from tests.support.api import FakeRunCommands, application, client
from tests.support.routes import sample_path

BODIES = {
    "/v1/batch": {"batch": [{"type": "track", "event": "setup_completed", "userId": "u"}]},
    "signals": {"name": "setup_completed"},
    "consents": {"channel": "email", "topic": "onboarding", "granted": True, "source": "test"},
    "catalogue": {"files": {}},
    "lift": {"by": "dana"},
    "suppressions:find": {"channel": "email", "address": "ada@example.com"},
    "suppressions": {"channel": "email", "address": "ada@example.com", "by": "dana"},
    "inbound-texts": {"phone": "+4366412345", "text": "stop"},
    "close": {"resolution": "reached", "by": "dana"},
    "pause": {"by": "dana"},
    "resume": {"by": "dana"},
    "cancel": {"by": "dana", "reason": "test"},
    "clocks": {"now": "2026-01-01T00:00:00Z"},
    "call": {
        "type": "track", "event": "setup_completed", "userId": "u", "groupId": "a", "previousId": "p", "messageId": "m"
    },
}  # fmt: skip
NO_STORE = {
    "/",
    "/docs",
    "/docs/{file}",
    "/livez",
    "/metrics",
    "/openapi.json",
    "/v1/m",
    "/v1/codec/decode",
    "/v1/codec/encode",
}
BROWSER = inbox_token((DEV_KEY,), "u_1", datetime.now(UTC) + timedelta(minutes=50))


def body_for(route, path: str):
    """The example in the schema of the body, or the one in BODIES."""
    for param in route.dependant.body_params:
        extra = getattr(param.field_info.annotation, "model_config", {}).get("json_schema_extra") or {}
        if "example" in extra:
            return extra["example"]
    named = next((body for name, body in BODIES.items() if name in path), None)
    return named or BODIES["call"]


def answers_without_store(path: str) -> bool:
    """Webhooks of unconfigured providers answer 404; previews are rendered from files only."""
    return path.startswith("/v1/hooks/") or path.endswith(("/preview", "/test-send"))


def asks_to_retry(answer) -> bool:
    return answer.status_code == 503 and int(answer.headers["retry-after"]) > 0 and answer.json()["turn"] == "operator"


@pytest.mark.parametrize(
    "url", ["postgresql://127.0.0.1:1/none", "postgresql:///none?host=/nowhere"], ids=["refused", "no socket"]
)
async def test_every_route_answers_503_with_retry_after_when_the_database_is_down(url):
    async with client(application(url)) as api:
        all_routes = api._transport.app.app.router.routes
        routes = [route for route in all_routes if route.path not in NO_STORE and not answers_without_store(route.path)]
        for route in routes:
            for method in route.methods - {"OPTIONS"}:  # CORS preflight reads no store
                path = sample_path(route.path)
                query = {"name": "x", "template": "a/b", "by": "dana", "message_id": "x", "token": BROWSER}
                answer = await api.request(method, path, json=body_for(route, path), params=query)
                assert answer.status_code == 503, (method, path, answer.text)
                assert int(answer.headers["retry-after"]) > 0, path
                if route.path != "/readyz" and method != "HEAD":
                    assert asks_to_retry(answer), path


async def test_a_database_without_tables_is_an_operator_error(empty_database_url):
    async with client(application(empty_database_url)) as api:
        event = {"event": "setup_completed", "userId": "early"}
        assert asks_to_retry(await api.post("/v1/track", json=event))
        ready = await api.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["database"]["status"]) == (503, "failing")


async def connect(url: str) -> asyncpg.Connection:
    parsed = make_url(url)
    return await asyncpg.connect(
        user=parsed.username, password=parsed.password, host=parsed.query["host"], database=parsed.database
    )


async def test_a_request_that_waits_too_long_for_a_lock_gets_503_and_stores_nothing_twice(database_url):
    async with client(application(database_url, limits=Limits(patience_seconds=0.5))) as api:
        identify = {"userId": "locked", "traits": {"plan": "team"}, "messageId": "i-1"}
        assert (await api.post("/v1/identify", json={**identify, "messageId": "i-0"})).status_code == 200
        other = await connect(database_url)
        async with other.transaction():
            await other.execute("SELECT 1 FROM subjects FOR UPDATE")
            assert asks_to_retry(await api.post("/v1/identify", json=identify))
        await asyncio.sleep(0.7)
        assert (await api.post("/v1/identify", json=identify)).status_code == 200
        assert await other.fetchval("SELECT count(*) FROM events WHERE message_id = 'i-1'") == 1
        await other.close()


async def test_reads_get_503_and_health_answers_when_every_connection_is_taken(database_url):
    app = application(database_url, limits=Limits(patience_seconds=0.5, pool=1, commits=2))
    async with client(app) as api:
        await api.post("/v1/identify", json={"userId": "full", "traits": {}})
        other = await connect(database_url)
        async with other.transaction():
            await other.execute("LOCK TABLE subjects, identities, tasks IN ACCESS EXCLUSIVE MODE")
            answers = await asyncio.gather(*(api.get("/v1/users/full") for _ in range(8)))
            assert all(asks_to_retry(answer) for answer in answers)
            assert (await api.get("/livez")).status_code == 200
        assert (await api.get("/v1/users/full")).status_code == 200
        await other.close()


async def test_a_flood_of_readiness_checks_takes_one_connection(database_url):
    app = application(database_url, limits=Limits(pool=2))
    async with client(app) as api:
        event = {"event": "setup_completed", "userId": "beside"}
        assert (await api.post("/v1/track", json=event)).status_code == 200
        other = await connect(database_url)
        async with other.transaction():
            await other.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
            flood = [asyncio.create_task(api.get("/readyz")) for _ in range(30)]
            async with asyncio.timeout(SECONDS / 2):
                assert (await api.post("/v1/track", json=event)).status_code == 200
            assert not any(check.done() for check in flood)
        assert {check.status_code for check in await asyncio.gather(*flood)} == {200}
        await other.close()


async def test_requests_beyond_the_concurrency_limit_get_429(database_url):
    async with client(application(database_url, limits=Limits(in_flight=2, commits=1, patience_seconds=5))) as api:
        event = {"event": "setup_completed", "userId": "many"}
        answers = await asyncio.gather(
            *(api.post("/v1/track", json={**event, "messageId": f"m{n}"}) for n in range(30))
        )
        refused = [answer for answer in answers if answer.status_code == 429]
        accepted = [answer for answer in answers if answer.status_code == 200]
        assert len(refused) + len(accepted) == 30
        assert refused
        assert refused[0].json()["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
        assert int(refused[0].headers["retry-after"]) > 0
        other = await connect(database_url)
        assert await other.fetchval("SELECT count(*) FROM events") == len(accepted)
        await other.close()


async def test_A1_events_are_refused_while_half_of_the_lanes_wait_too_long_and_the_process_stays_ready(database_url):
    app = application(database_url, limits=Limits(backlog_seconds=3600, provider_day_bytes=3_000))
    async with client(app) as api:
        other = await connect(database_url)
        await other.execute(
            "INSERT INTO outbox (recipient, seq, kind, event_id, at, created_at) "
            "VALUES ('u_1', 1, 'signal', 'e', now(), now() - interval '2 hours')"
        )
        event = {"event": "setup_completed", "userId": "late"}
        await _until(lambda: api.post("/v1/track", json=event), 503)
        assert (await api.post("/v1/track", json=event)).json()["type"] == "urn:tenure:problem:overloaded"
        mail = b"From: ada@example.com\r\nIn-Reply-To: <none@example.com>\r\n\r\n" + b"x" * 1_300
        refused = [await api.post("/v1/inbound-mails", content=mail) for _ in range(3)]
        assert [answer.status_code for answer in refused] == [503] * 3
        ready = await api.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["outbox"]["status"]) == (200, "degraded")
        assert (await api.get("/v1/tasks")).status_code == 200, "reads are still answered"
        await other.execute("UPDATE outbox SET delivered_at = now()")
        await _until(lambda: api.post("/v1/track", json=event), 200)
        taken = await api.post("/v1/inbound-mails", content=mail)
        assert taken.status_code == 202, "what was refused for the backlog has charged nothing"
        await other.close()


async def _until(read, status: int) -> None:
    async with asyncio.timeout(10):
        while (await read()).status_code != status:
            await asyncio.sleep(0.1)


async def test_events_are_accepted_and_readiness_is_degraded_without_temporal(database_url):
    engine = FakeRunCommands(up=False)
    async with client(application(database_url, engine=engine)) as api:
        taken = await api.post("/v1/track", json={"event": "setup_completed", "userId": "u"})
        ready = await api.get("/readyz")
        assert taken.status_code == 200
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert ready.json()["checks"]["temporal"]["status"] == "degraded"


async def test_a_starting_api_is_not_ready_before_a_worker_has_answered_a_probe_workflow(database_url):
    engine = FakeRunCommands(decided=False)
    async with client(application(database_url, engine=engine)) as api:
        early = await api.get("/readyz")
        engine.decided = True
        ready = await api.get("/readyz")
        engine.up = engine.decided = False
        await api.get("/readyz")
        engine.up = True
        after_an_outage = await api.get("/readyz")
    assert (early.status_code, early.json()["checks"]["temporal"]["status"]) == (503, "failing")
    assert (ready.status_code, ready.json()["status"]) == (200, "ok")
    assert after_an_outage.json()["checks"]["temporal"]["status"] == "failing", "the next probe has not been answered"


async def test_an_api_that_has_waited_long_enough_for_a_worker_accepts_events_without_one(database_url, monkeypatch):
    monkeypatch.setattr("api.operations.health.STARTING", 0.0)
    async with client(application(database_url, engine=FakeRunCommands(decided=False))) as api:
        ready = await api.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")


async def test_metrics_count_events_and_contain_no_personal_data(database_url):
    async with client(application(database_url)) as api:
        for _ in range(2):
            await api.post(
                "/v1/track", json={"event": "setup_completed", "userId": "ada@example.com", "messageId": "m"}
            )
        await api.post("/v1/track", json={"event": "Unplanned", "userId": "ada@example.com"})
        await api.get("/v1/users/ada@example.com")
        await api.get("/v1/nothing/ada@example.com")
        text = (await api.get("/metrics")).text
    assert 'tenure_events_total{result="accepted"} 1.0' in text
    assert 'tenure_events_total{result="duplicate"} 1.0' in text
    assert 'tenure_events_total{result="quarantined"} 1.0' in text
    assert 'route="/v1/users/{id:id}"' in text
    assert "tenure_outbox_oldest_seconds" in text
    assert "ada@example.com" not in text
