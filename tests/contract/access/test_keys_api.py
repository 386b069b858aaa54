"""API keys by the API: made, used, rotated with an overlap, revoked; what is done with one is recorded under its name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.requests import Request

from api.http import auth
from api.http.auth import BootstrapKeys, KeyRegistry
from api.http.problems import ProblemError
from journeys.access.callers import Scope
from store.database import Connection, Database
from tests.support.api import OPERATE, WRITE, application, client
from tests.support.api_keys import make_api_key

SIGN_UP = {"event": "Signed Up", "userId": "ada", "messageId": "m-1"}
STOP = {"scope": "journey", "name": "x", "why": "a test"}


@pytest_asyncio.fixture
async def replica(module_database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Another process of the API, as far as its memory is concerned."""
    other = application(module_database_url)
    async with (
        other.app.router.lifespan_context(other.app),
        httpx.AsyncClient(transport=httpx.ASGITransport(other), base_url="http://api") as made,
    ):
        yield made


async def status(client: httpx.AsyncClient, secret: str, method: str = "POST", path: str = "/v1/track") -> int:
    call: dict[str, Any] = {**SIGN_UP, "event": "pricing_viewed", "anonymousId": "a-visitor"}
    call.pop("userId")
    return (await client.request(method, path, json=call, auth=(secret, ""))).status_code


async def test_a_key_is_shown_once_and_listed_without_its_secret(api):
    key = await make_api_key(api, "shown", "secret", source="server")
    assert (key.view["kind"], key.view["source"], key.view["made_by"]) == ("secret", "server", "operator")
    assert key.view["identity_secret"] is None
    listing = await api.get("/v1/keys")
    assert key.secret not in listing.text
    assert [item["name"] for item in listing.json()["items"]][:1] == ["shown"]
    taken = await api.post("/v1/keys", json={"name": "shown", "kind": "public"})
    assert (taken.status_code, taken.json()["detail"][:20]) == (409, "A key named shown is")


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x"},
        {"name": "x y", "kind": "public"},
        {"name": "", "kind": "public"},
        {"name": "x", "kind": "root"},
        {"name": "x", "kind": "operator"},
        {"name": "x", "kind": "secret", "scopes": ["read"]},
        {"name": "x", "kind": "operator", "scopes": ["all"]},
        {"name": "x", "kind": "public", "source": "a:b"},
    ],
    ids=str,
)
async def test_a_key_that_would_mean_nothing_is_refused(api, body):
    assert (await api.post("/v1/keys", json=body)).status_code == 422


async def test_a_rotated_key_overlaps_with_its_old_secret_and_a_revoked_one_ends_at_once(api):
    first = await make_api_key(api, "turning", "public")
    assert first.view["identity_secret"]
    second = (await api.post(f"/v1/keys/{first.view['id']}/rotate", json={"overlap_hours": 1})).json()
    assert second["identity_secret"] != first.view["identity_secret"]
    assert [await status(api, secret) for secret in (first.secret, second["secret"])] == [200, 200]
    third = (await api.post(f"/v1/keys/{first.view['id']}/rotate", json={"overlap_hours": 0})).json()
    secrets = (first.secret, second["secret"], third["secret"])
    assert [await status(api, secret) for secret in secrets] == [401, 401, 200]
    revoked = await api.post(f"/v1/keys/{first.view['id']}/revoke")
    assert revoked.json()["revoked_by"] == "operator"
    assert [await status(api, secret) for secret in secrets] == [401, 401, 401]
    assert (await api.post(f"/v1/keys/{first.view['id']}/rotate", json={})).status_code == 404
    assert (await api.post("/v1/keys/k_0123456789abcdef/revoke")).status_code == 404


async def test_another_process_learns_of_new_and_revoked_keys_within_seconds(api, replica, monkeypatch):
    assert await status(replica, "tenure_pk_unknown") == 401
    monkeypatch.setattr(auth, "FRESH_SECONDS", 0.05)
    key = await make_api_key(api, "everywhere", "public")
    while await status(replica, key.secret) != 200:
        await asyncio.sleep(0.01)
    await api.post(f"/v1/keys/{key.view['id']}/revoke")
    while await status(replica, key.secret) != 401:
        await asyncio.sleep(0.01)


class SlowReading(Database):
    """A database whose next reading is held up after its statements, until `go_on` is set."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.has_read, self.go_on = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        async with super().reading() as connection:
            yield connection
            self.has_read.set()
            await self.go_on.wait()


async def test_a_key_that_is_revoked_while_the_keys_are_read_is_not_found_by_the_next_request(api, module_database_url):
    key = await make_api_key(api, "overtaken", "secret")
    database = SlowReading(module_database_url)
    registry = KeyRegistry(database, BootstrapKeys(write=WRITE, operator=OPERATE), in_production=False)

    def asked() -> Request:
        header = (b"authorization", f"Bearer {key.secret}".encode())
        return Request({"type": "http", "headers": [header]})

    during = asyncio.create_task(registry.check(asked(), Scope.COLLECT))
    await database.has_read.wait()
    await api.post(f"/v1/keys/{key.view['id']}/revoke")
    registry.forget()
    database.go_on.set()
    await during
    with pytest.raises(ProblemError):
        await registry.check(asked(), Scope.COLLECT)
    await database.close()


async def test_a_public_key_has_no_source_in_common_with_a_key_of_another_kind(api):
    """A source is a namespace of message ids: a stranger could use those of the server's events first."""
    await make_api_key(api, "the-shop", "secret")
    await make_api_key(api, "its-page", "public")
    for kind, source in (("public", "the-shop"), ("secret", "its-page")):
        refused = await api.post("/v1/keys", json={"name": "another", "kind": kind, "source": source})
        assert refused.status_code == 409, refused.text
        assert source in refused.json()["detail"]
    await make_api_key(api, "its-second-server", "secret", source="the-shop")
    await make_api_key(api, "its-app", "public", source="its-page")


async def test_what_is_done_with_a_key_is_recorded_under_its_name(api, app):
    key = await make_api_key(api, "erin", "operator", "operate")
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://api", auth=(key.secret, "")
    ) as erin:
        alone = (await erin.post("/v1/stops", json=STOP)).json()
        named = (await erin.post(f"/v1/stops/{alone['id']}/release", json={"by": "dana via operator"})).json()
    assert (alone["by"], named["released_by"]) == ("erin", "dana via operator via erin")


async def test_a_key_gives_nobody_more_than_it_has(api, app):
    key = await make_api_key(api, "narrow", "operator", "admin", "read")
    wide = await make_api_key(api, "wide", "operator", "operate", "read")
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://api", auth=(key.secret, "")
    ) as narrow:
        for scopes in (["operate"], ["read", "publish"]):
            refused = await narrow.post("/v1/keys", json={"name": "more", "kind": "operator", "scopes": scopes})
            assert refused.status_code == 403
        assert (await narrow.post(f"/v1/keys/{wide.view['id']}/rotate", json={})).status_code == 403
        made = await narrow.post("/v1/keys", json={"name": "less", "kind": "operator", "scopes": ["read"]})
        assert (made.status_code, made.json()["made_by"]) == (201, "narrow")
        assert (await narrow.post(f"/v1/keys/{wide.view['id']}/revoke")).status_code == 200, (
            "to end a key is never more"
        )


async def test_ids_of_messages_are_a_namespace_of_each_source_and_outlive_a_rotation(api, app, db):
    shop, billing = [await make_api_key(api, name, "secret", source=name) for name in ("shop", "billing")]
    rotated = (await api.post(f"/v1/keys/{shop.view['id']}/rotate", json={})).json()["secret"]
    for secret in (shop.secret, rotated, billing.secret, OPERATE):
        sent = await api.post("/v1/track", json={**SIGN_UP, "messageId": "one"}, auth=(secret, ""))
        assert sent.status_code == 200
    rows = await db.fetch("SELECT source FROM events WHERE message_id = 'one' ORDER BY source")
    assert [row["source"] for row in rows] == ["segment", "segment:billing", "segment:shop"]


async def test_there_are_no_test_clocks_in_production(module_database_url, api):
    clock = {"now": "2026-01-01T00:00:00Z"}
    assert (await api.put("/v1/clocks/here", json=clock)).status_code == 200
    production = application(module_database_url, in_production=True)
    async with client(production, OPERATE) as made:
        for answer in (
            await made.put("/v1/clocks/here", json=clock),
            await made.get("/v1/clocks/here"),
            await made.post("/v1/clocks/here/advance", json={"to": "2026-02-01T00:00:00Z"}),
            await made.post("/v1/track", json=SIGN_UP, headers={"X-Tenure-Clock": "here"}),
        ):
            assert (answer.status_code, answer.json()["detail"][:39]) == (
                403,
                "There are no test clocks in production.",
            )
