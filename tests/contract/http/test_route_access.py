"""Every route × every kind of caller: a table by hand, compared with the routes and with what they answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import pytest_asyncio

from api.http.auth import KEYLESS, BootstrapKeys, KeyRegistry
from api.http.limits import Limits
from api.http.routes import Routes, ScopedRoute
from journeys.access.callers import NOBODY, Scope
from journeys.access.rules import RouteCall, refusal_of
from journeys.consent.rules import DEV_BASE, DEV_KEY
from journeys.tokens.inbox_tokens import inbox_token
from journeys.tokens.signed_links import PATHS, Link, Links
from store.database import Database
from store.inbox import items as inbox_items
from tests.support.api import CLICKS, OPERATE, WRITE, application
from tests.support.api_keys import MadeForTests, make_keys_of_all_kinds
from tests.support.routes import sample_path

NOWHERE = "postgresql://nowhere/none"
ROUTES: dict[Scope, set[str]] = {
    Scope.ANYONE: {
        "OPTIONS /v1/codec/decode", "OPTIONS /v1/codec/encode", "GET /", "GET /docs", "GET /docs/{file}", "GET /livez",
        "GET /readyz", "OPTIONS /v1/front/inbox",
        "OPTIONS /v1/front/inbox/stream", "OPTIONS /v1/front/inbox/{id}/acted", "OPTIONS /v1/front/inbox/{id}/answered",
        "OPTIONS /v1/front/inbox/{id}/dismissed", "OPTIONS /v1/front/inbox/{id}/seen", "OPTIONS /v1/{call:call}",
        "POST /v1/m", "GET /v1/projects/{key:key}/settings", "OPTIONS /v1/projects/{key:key}/settings",
    },
    Scope.LINK: {
        "GET /c/{token}", "GET /p/{token}", "GET /u/{token}", "GET /y/{token}", "HEAD /c/{token}", "POST /p/{token}",
        "POST /u/{token}", "POST /y/{token}",
    },
    Scope.TOKEN: {
        "GET /v1/front/inbox", "GET /v1/front/inbox/stream", "POST /v1/front/inbox/{id}/acted",
        "POST /v1/front/inbox/{id}/answered", "POST /v1/front/inbox/{id}/dismissed", "POST /v1/front/inbox/{id}/seen",
    },
    Scope.SIGNATURE: {
        "POST /v1/hooks/resend", "POST /v1/hooks/twilio", "POST /v1/hooks/zendesk", "POST /v1/hooks/zoom",
    },
    Scope.COLLECT: {
        "POST /v1/alias", "POST /v1/batch", "POST /v1/group", "POST /v1/identify", "POST /v1/page", "POST /v1/screen",
        "POST /v1/track",
        *(f"POST /v1/{name}" for name in ("a", "b", "g", "i", "import", "p", "s", "t")),
    },
    Scope.SEND: {
        "POST /v1/accounts/{id:id}/signals", "POST /v1/users/{id:id}/signals", "PUT /v1/users/{id:id}/consents",
    },
    Scope.READ: {
        "GET /metrics", "GET /openapi.json", "GET /v1/accounts/{id:id}", "GET /v1/accounts/{id:id}/journeys", "GET /v1/catalogue", "GET /v1/catalogue/versions", "GET /v1/consents/log", "GET /v1/conversations", "GET /v1/dead-letters",
        "GET /v1/feed", "GET /v1/feed/push", "GET /v1/holds", "GET /v1/journeys", "GET /v1/journeys/{key}",
        "GET /v1/journeys/{key}/diagram", "GET /v1/journeys/{key}/versions", "GET /v1/messages",
        "GET /v1/messages/{id}/why", "GET /v1/parked", "GET /v1/parked/{id}", "GET /v1/quarantine", "GET /v1/quarantine/names", "GET /v1/quarantine/{id}",
        "GET /v1/runs/{run:run}", "GET /v1/runs/{run:run}/explain", "GET /v1/runs/{run:run}/timeline", "GET /v1/sender-refusals", "GET /v1/stops",
        "GET /v1/suppressions", "GET /v1/tasks", "GET /v1/tasks/{id}", "GET /v1/tasks/{id}/log", "GET /v1/templates",
        "GET /v1/traces", "GET /v1/traces/{trace}", "GET /v1/users/{id:id}", "GET /v1/users/{id:id}/consents",
        "GET /v1/users/{id:id}/consents/log", "GET /v1/users/{id:id}/inbox", "GET /v1/users/{id:id}/inbox/stream",
        "GET /v1/users/{id:id}/journeys", "GET /v1/users/{id:id}/messages", "GET /v1/users/{id:id}/timeline",
        "GET /v1/users/{id:id}/why-not", "POST /v1/journeys:check", "POST /v1/suppressions:find",
        "POST /v1/templates/{name:template}/preview",
    },
    Scope.OPERATE: {
        "DELETE /v1/accounts/{id:id}/hold", "DELETE /v1/users/{id:id}/hold", "POST /v1/accounts/{id:id}/hold",
        "POST /v1/codec/decode", "POST /v1/codec/encode",
        "POST /v1/accounts/{id:id}/plays", "POST /v1/conversations/{id}/close", "POST /v1/dead-letters/{id}/discard",
        "POST /v1/feed/push/retry", "POST /v1/inbound-mails", "POST /v1/inbound-texts", "POST /v1/inbox/{id}/acted",
        "POST /v1/inbox/{id}/answered", "POST /v1/inbox/{id}/dismissed", "POST /v1/inbox/{id}/seen",
        "POST /v1/messages/{id}/resend", "POST /v1/parked/{id}/discard", "POST /v1/parked/{id}/replay", "POST /v1/quarantine/{id}/discard", "POST /v1/quarantine/{id}/replay",
        "POST /v1/quarantine:replay", "POST /v1/runs/{run:run}/cancel", "POST /v1/runs/{run:run}/pause",
        "POST /v1/runs/{run:run}/resume", "POST /v1/sender-refusals/{id}/close", "POST /v1/stops", "POST /v1/stops/{id}/release", "POST /v1/suppressions",
        "POST /v1/suppressions/{id}/lift", "POST /v1/tasks/{id}/assign", "POST /v1/tasks/{id}/close",
        "POST /v1/tasks/{id}/notes", "POST /v1/tasks/{id}/snooze", "POST /v1/templates/{name:template}/test-send",
        "GET /v1/users/{id:id}/export",
        "POST /v1/users/{id:id}/front-token", "POST /v1/users/{id:id}/hold", "POST /v1/users/{id:id}/plays",
        "POST /v1/users/{id:id}/preference-link",
    },
    Scope.PUBLISH: {"PUT /v1/catalogue", "PUT /v1/journeys/{key}"},
    Scope.ADMIN: {"GET /v1/keys", "POST /v1/keys", "POST /v1/keys/{id}/revoke", "POST /v1/keys/{id}/rotate"},
    Scope.CLOCK: {"GET /v1/clocks/{id}", "POST /v1/clocks/{id}/advance", "PUT /v1/clocks/{id}"},
}  # fmt: skip
"""By scope, its routes. A new route needs a row."""
MADE = application(NOWHERE).app.router.routes
BY_SCOPE = {
    f"{method} {route.path}": route.scope
    for route in MADE
    if isinstance(route, ScopedRoute)
    for method in route.methods or ()
}
KEYED = sorted(name for name, scope in BY_SCOPE.items() if scope not in KEYLESS)


def path_of(name: str, token: str | None = None) -> str:
    return sample_path(name.partition(" ")[2], token)


@pytest_asyncio.fixture(scope="module")
async def keys(api) -> dict[str, MadeForTests]:
    return await make_keys_of_all_kinds(api)


@pytest_asyncio.fixture(scope="module")
async def stranger(api, app) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as made:
        yield made


def test_every_route_has_a_row_and_no_row_is_without_a_route():
    assert all(isinstance(route, ScopedRoute) for route in MADE)
    assert {scope: {name for name, of in BY_SCOPE.items() if of is scope} for scope in Scope} == ROUTES


def test_a_route_without_a_scope_cannot_be_made():
    registry = KeyRegistry(Database(NOWHERE), BootstrapKeys(write="w", operator="o"), in_production=False)
    with pytest.raises(TypeError, match="scope"):
        Routes(registry, Limits()).add("GET", "/x", lambda: None, summary="", tag="")


@pytest.mark.parametrize("name", KEYED)
async def test_a_route_answers_401_without_a_key_or_with_a_wrong_one(stranger, keys, name):
    basic = httpx.BasicAuth
    nearly = keys["admin"].secret[:-1]
    for auth in (
        None,
        basic("", ""),
        basic("nobody", ""),
        basic("", OPERATE),
        basic(OPERATE[:-1], ""),
        basic(nearly, ""),
    ):
        refused = await stranger.request(name.partition(" ")[0], path_of(name), auth=auth)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic")
        assert refused.json()["type"] == "urn:tenure:problem:unauthenticated"
    assert refusal_of(NOBODY, RouteCall(BY_SCOPE[name])) is not None


@pytest.mark.parametrize("name", KEYED)
async def test_a_route_is_open_to_the_kinds_and_scopes_of_its_row_and_answers_403_to_all_others(stranger, keys, name):
    method, scope = name.partition(" ")[0], BY_SCOPE[name]
    for of, key in keys.items():
        answer = await stranger.request(method, path_of(name), auth=(key.secret, ""))
        allowed = refusal_of(key.caller, RouteCall(scope)) is None
        assert (answer.status_code not in {401, 403}) == allowed, (of, answer.text)
        if not allowed:
            assert (answer.json()["title"], answer.json()["turn"]) == ("The key does not allow this", "caller")
            assert f"The key is {key.view['kind']}" in answer.json()["detail"]
    expected = {
        Scope.COLLECT: {"public", "secret", "operate"},
        Scope.SEND: {"secret", "operate"},
        Scope.CLOCK: {"operate"},
    }.get(scope, {scope.value})
    assert {of for of, key in keys.items() if refusal_of(key.caller, RouteCall(scope)) is None} == expected


@pytest.mark.parametrize("name", sorted(ROUTES[Scope.TOKEN]))
async def test_a_key_or_a_link_does_not_open_a_route_of_inbox_tokens(stranger, keys, name):
    link = Links(DEV_BASE, (DEV_KEY,)).token(Link("preferences", "u_1"), datetime.now(UTC))
    for secret in ("", link, WRITE, OPERATE, *(key.secret for key in keys.values())):
        refused = await stranger.request(
            name.partition(" ")[0], path_of(name), headers={"Authorization": f"Bearer {secret}"}, json={"value": 1}
        )
        assert refused.status_code == 401


@pytest.mark.parametrize("name", sorted(ROUTES[Scope.LINK]))
async def test_only_a_link_for_its_own_purpose_opens_a_page(stranger, keys, name):
    path = path_of(name, "{}")
    links, now = Links(DEV_BASE, (DEV_KEY,)), datetime.now(UTC)
    wrong: list[str] = [
        "x",
        *(key.secret for key in keys.values()),
        inbox_token((DEV_KEY,), "u_1", now + timedelta(hours=1)),
    ]
    wrong += [
        links.token(Link(purpose, "u_1"), now) for purpose, page in PATHS.items() if not path.startswith(f"/{page}/")
    ]
    if not path.startswith("/c/"):
        wrong.append(CLICKS.token("some-message", 0))
    for token in wrong:
        refused = await stranger.request(name.partition(" ")[0], path.format(token))
        assert refused.status_code == 404, token


@pytest.mark.parametrize("name", sorted(ROUTES[Scope.SIGNATURE]))
async def test_a_key_is_no_signature(stranger, keys, name):
    for key in keys.values():
        refused = await stranger.post(path_of(name), auth=(key.secret, ""), json={})
        assert refused.status_code == 404, "the webhook is not configured; configured ones answer 401"


# -- own and foreign objects -------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module")
async def refs(api, db, module_database_url) -> dict[str, str]:
    """The id of one in-app message of each person."""
    database, found = Database(module_database_url), {}
    for user in ("ada", "eve"):
        await api.post(f"/v1/users/{user}/signals", json={"name": "pricing_viewed"})
        person = await db.fetchval("SELECT subject_key FROM identities WHERE value = $1", user)
        content = {"kind": "survey", "title": "How?", "asks": {"scale": {"from": 0, "to": 10}}}
        async with database.transaction() as connection:
            await inbox_items.put_item(connection, f"of-{user}", person, content, datetime.now(UTC))
        found[user] = str(await db.fetchval("SELECT ref FROM inbox WHERE key = $1", f"of-{user}"))
    await database.close()
    return found


@pytest.mark.parametrize("name", sorted(name for name in ROUTES[Scope.TOKEN] if "{id}" in name))
async def test_a_persons_token_opens_their_own_message_and_no_others(stranger, api, refs, name):
    token = (await api.post("/v1/users/ada/front-token", json={})).json()["token"]
    for user, status in (("eve", 404), ("ada", 200)):
        path = name.partition(" ")[2].replace("{id}", refs[user])
        answer = await stranger.post(path, headers={"Authorization": f"Bearer {token}"}, json={"value": 9})
        assert answer.status_code == status, answer.text
    for guess in ("1", "2", "00000000-0000-0000-0000-000000000000"):
        path = name.partition(" ")[2].replace("{id}", guess)
        assert (await stranger.post(path, headers={"Authorization": f"Bearer {token}"}, json={"value": 9})).status_code in {
            404, 422,
        }  # fmt: skip


async def test_a_persons_token_lists_their_own_messages_and_no_others(stranger, api, refs):
    for user in refs:
        token = (await api.post(f"/v1/users/{user}/front-token", json={})).json()["token"]
        listed = await stranger.get("/v1/front/inbox", headers={"Authorization": f"Bearer {token}"})
        assert [item["id"] for item in listed.json()["items"]] == [refs[user]]


def test_every_page_of_signed_links_is_in_the_table():
    pages = {f"/{page}/{{token}}" for page in PATHS.values()} | {"/c/{token}"}
    assert {name.partition(" ")[2] for name in ROUTES[Scope.LINK]} == pages
