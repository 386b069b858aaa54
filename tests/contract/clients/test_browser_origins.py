"""CORS: pages of allowed origins send events with a public key and read the answers, refusals too."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from api.http.limits import Limits
from journeys.events.segment import BATCH_NAMES, CALL_NAMES
from tests.support.api import WRITE, application
from tests.support.api_keys import MadeForTests, make_api_key

OWN, FOREIGN = "https://www.shop.example", "https://evil.example"
CALL = {"anonymousId": "v-1", "name": "Pricing"}
PATHS = [*(f"/v1/{name}" for name in sorted((*CALL_NAMES, *BATCH_NAMES))), "/v1/m", "/v1/projects/some-key/settings"]


@pytest_asyncio.fixture(scope="module")
async def key(api) -> MadeForTests:
    return await make_api_key(api, "pages", "public")


@pytest_asyncio.fixture(scope="module")
async def limited(module_database_url, api) -> AsyncIterator[httpx.AsyncClient]:
    """A deployment that names the origins of its pages."""
    app = application(module_database_url, browser_origins=(OWN,))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as made:
        yield made


@pytest.mark.parametrize("path", PATHS)
async def test_a_preflight_allows_what_the_libraries_send(limited, path):
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    answer = await limited.options(path, headers={"Origin": OWN, **asked})
    assert (answer.status_code, answer.json()) == (200, {"allowed": True})
    assert answer.headers["access-control-allow-origin"] == OWN
    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in answer.headers
    allowed = {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert {"authorization", "content-type", "content-encoding", "x-retry-count"} <= allowed
    refused = await limited.options(path, headers={"Origin": FOREIGN, **asked})
    assert refused.json() == {"allowed": False}
    assert not [name for name in refused.headers if name.startswith("access-control")]


async def test_a_public_key_is_refused_on_pages_of_other_origins(limited, key):
    """A text with its key in the body needs no preflight: the browser sends it to anybody."""
    for headers, status in (({"Origin": OWN}, 200), ({"Origin": FOREIGN}, 403), ({"Origin": "null"}, 403), ({}, 200)):
        sent = await limited.post("/v1/p", json={**CALL, "writeKey": key.secret}, headers=headers)
        assert sent.status_code == status, headers
    assert (await limited.post("/v1/p", json=CALL, headers={"Origin": FOREIGN}, auth=(WRITE, ""))).status_code == 200


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/p", {"Authorization": "Bearer nobody"}, 401),
        ("/v1/b", {}, 401),
        ("/v1/p", {"Content-Encoding": "zstd"}, 415),
        ("/v1/projects/nobody/settings", {}, 404),
    ],
)
async def test_a_page_can_read_a_refusal(limited, path, headers, status):
    method = "GET" if path.endswith("settings") else "POST"
    refused = await limited.request(method, path, content=b"{}", headers={"Origin": OWN, **headers})
    assert refused.status_code == status, refused.text
    assert refused.headers["access-control-allow-origin"] == OWN
    assert "Retry-After" in refused.headers["access-control-expose-headers"]


async def test_a_page_learns_when_to_send_again(module_database_url, key):
    app = application(module_database_url, browser_origins=(OWN,), limits=Limits(person_events=1))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as web:
        call = {"anonymousId": "v-often", "writeKey": key.secret}
        first, second = [await web.post("/v1/p", json=call, headers={"Origin": OWN}) for _ in range(2)]
    assert (first.status_code, second.status_code) == (200, 429)
    assert int(second.headers["retry-after"]) > 0
    assert second.headers["access-control-allow-origin"] == OWN
    assert "Retry-After" in second.headers["access-control-expose-headers"]


async def test_every_origin_may_call_where_none_is_named(api, key):
    for origin in (OWN, FOREIGN, "null"):
        sent = await api.post("/v1/p", json=CALL, headers={"Origin": origin}, auth=(key.secret, ""))
        assert (sent.status_code, sent.headers["access-control-allow-origin"]) == (200, "*")


async def test_other_routes_are_not_for_pages(api):
    assert "access-control-allow-origin" not in (await api.get("/v1/tasks", headers={"Origin": OWN})).headers


async def test_a_public_key_has_settings_that_name_this_api_and_no_other_key_has(limited, api, key):
    found = await limited.get(f"/v1/projects/{key.secret}/settings", headers={"Origin": OWN})
    assert found.status_code == 200
    destination = found.json()["integrations"]["Segment.io"]
    assert destination == {"apiKey": key.secret, "apiHost": "api/v1", "protocol": "http"}
    assert found.json()["metrics"]["sampleRate"] == 0
    assert "private" in found.headers["cache-control"]
    secret = await make_api_key(api, "server-of-pages", "secret")
    for other in (WRITE, secret.secret, "nobody"):
        assert (await limited.get(f"/v1/projects/{other}/settings")).status_code == 404


async def test_the_settings_name_the_public_address_where_there_is_one(module_database_url, key):
    app = application(module_database_url, public_url="https://events.shop.example/tenure/")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://inside:8400") as made:
        found = (await made.get(f"/v1/projects/{key.secret}/settings")).json()["integrations"]["Segment.io"]
    assert (found["apiHost"], found["protocol"]) == ("events.shop.example/tenure/v1", "https")


@pytest.mark.parametrize("host", ["[", "[::1", "evil.example/x", "a b", "user@evil.example", "x" * 300, ""])
async def test_a_host_that_is_none_is_not_repeated(limited, key, host):
    path = f"/v1/projects/{key.secret}/settings"
    assert (await limited.get(path, headers={"Host": host})).status_code == 400
    for good in ("127.0.0.1:8400", "localhost", "[::1]:8400"):
        found = (await limited.get(path, headers={"Host": good})).json()["integrations"]["Segment.io"]
        assert found["apiHost"] == f"{good}/v1"
