"""Every route declares its scope and needs a key; every refusal is a problem document that says whose turn it is."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import httpx
import pytest
from fastapi.routing import APIRoute

from api.http.auth import ApiKeys, Scope
from api.http.limits import Limits
from api.http.routes import Routes, ScopedRoute
from journeys.consent.rules import DEV_BASE, DEV_KEY
from journeys.tokens.signed_links import PATHS, Link, Links, Purpose
from tests.support.api import CLICKS, OPERATE, WRITE, application, client
from worker.settings import ROOT

SAMPLES = {
    "id": "1",
    "key": "some-journey",
    "run": "journey%2Fsome%2Fu_1%2F-%2F1",
    "name": "setup%2Ffirst-steps",
    "token": "x",
    "trace": "4bf92f3577b34da6a3ce929d0e0e4736",
}
ROUTES = application("postgresql://nowhere/none").app.router.routes


def path_of(route: APIRoute) -> str:
    samples = {**SAMPLES, "token": token_for(route.path)}
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda match: samples[match[1]], route.path)


def token_for(path: str) -> str:
    """A valid token for the page or tracked link at this path."""
    if path.startswith("/c/"):
        return CLICKS.token("some-message", 0)
    purpose: Purpose = next((purpose for purpose, page in PATHS.items() if path.startswith(f"/{page}/")), "preferences")
    return Links(DEV_BASE, (DEV_KEY,)).token(Link(purpose, "u_1"), datetime.now(UTC))


def cases(*scopes: Scope):
    return [
        pytest.param(method, path_of(route), id=f"{method} {route.path}")
        for route in ROUTES
        if isinstance(route, ScopedRoute) and route.scope in scopes
        for method in route.methods
    ]


def test_every_route_has_a_scope():
    assert all(isinstance(route, ScopedRoute) for route in ROUTES)
    assert len(ROUTES) > 40
    with pytest.raises(TypeError, match="scope"):
        Routes(ApiKeys(write="w", operator="o"), seconds=1).add("GET", "/x", lambda: None, summary="", tag="")


def test_public_routes_are_health_the_description_signed_pages_inbox_tokens_and_webhooks():
    public = {route.path for route in ROUTES if route.scope is Scope.PUBLIC}
    hooks = {f"/v1/hooks/{provider}" for provider in ("resend", "twilio", "zendesk", "zoom")}
    pages = {"/p/{token}", "/u/{token}", "/y/{token}", "/c/{token}"}
    marks = ("/{id}/seen", "/{id}/acted", "/{id}/dismissed", "/{id}/answered")
    front = {f"/v1/front/inbox{rest}" for rest in ("", "/stream", *marks)}
    assert public == {"/livez", "/readyz", "/metrics", "/openapi.json", *pages, *hooks, *front}


def test_the_write_key_may_send_events_and_nothing_else():
    writing = {route.path for route in ROUTES if route.scope is Scope.WRITE}
    assert writing == {
        *(f"/v1/{kind}" for kind in ("batch", "track", "identify", "group", "alias", "page", "screen")),
        "/v1/users/{id:id}/signals",
        "/v1/accounts/{id:id}/signals",
    }


@pytest.mark.parametrize(("method", "path"), cases(Scope.WRITE, Scope.OPERATE))
async def test_a_route_answers_401_without_a_key_or_with_a_wrong_one(api, method, path):
    basic = httpx.BasicAuth
    for auth in (None, basic("", ""), basic("nobody", ""), basic("", OPERATE), basic(OPERATE[:-1], "")):
        refused = await api.request(method, path, auth=auth or (lambda request: request))
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic")
        assert refused.json()["type"] == "urn:tenure:problem:unauthenticated"


@pytest.mark.parametrize(("method", "path"), cases(Scope.OPERATE))
async def test_the_write_key_gets_403_on_operator_routes(sender, method, path):
    refused = await sender.request(method, path)
    assert (refused.status_code, refused.json()["title"]) == (403, "The key does not allow this")


async def test_many_wrong_keys_of_one_address_are_answered_slowly_and_the_right_one_is_not(module_database_url):
    async with client(application(module_database_url, limits=Limits(wrong_key_seconds=0.5)), "wrong") as stranger:
        began = time.monotonic()
        first = await asyncio.gather(*(stranger.get("/v1/tasks") for _ in range(20)))
        assert {refused.status_code for refused in first} == {401}
        slow = [asyncio.create_task(stranger.get("/v1/tasks")) for _ in range(110)]
        right = await stranger.get("/v1/tasks", auth=(OPERATE, ""))
        assert right.status_code == 200
        assert not all(task.done() for task in slow), "the right key does not wait for the wrong ones"
        refusals = await asyncio.gather(*slow)
        assert sorted(refused.status_code for refused in refusals) == [401] * 100 + [429] * 10
        assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize("header", ["Basic !!!", "Basic", "Bearer", "Digest x", "Basic \xff", "Bearer nobody"])
async def test_a_malformed_authorization_header_gets_401(api, header):
    refused = await api.get(
        "/v1/tasks", headers={"Authorization": header.encode("latin-1")}, auth=lambda request: request
    )
    assert refused.status_code == 401


@pytest.mark.parametrize("key", [WRITE, OPERATE])
async def test_a_key_is_accepted_as_a_bearer_token(api, key):
    event = {"event": "setup_completed", "userId": "bearer"}
    taken = await api.post(
        "/v1/track", json=event, headers={"Authorization": f"Bearer {key}"}, auth=lambda request: request
    )
    assert taken.status_code == 200


async def test_unknown_paths_and_methods_get_problem_documents(api):
    unknown = await api.get("/v1/nothing")
    wrong = await api.delete("/v1/batch")
    assert (unknown.status_code, wrong.status_code) == (404, 405)
    assert wrong.headers["allow"] == "POST"
    for answer in (unknown, wrong):
        assert answer.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "status", "detail", "turn", "errors"} == set(answer.json())


def test_the_write_key_and_the_operator_key_must_differ():
    with pytest.raises(ValueError, match="differ"):
        ApiKeys(write="same", operator="same")


def start_api(tmp_path, **environ: str) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("TENURE_")}
    env |= {f"TENURE_{name}": value for name, value in environ.items()}
    return subprocess.Popen([sys.executable, "-m", "api"], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)


def test_the_development_keys_are_refused_on_a_public_address(tmp_path):
    process = start_api(tmp_path, API_HOST="0.0.0.0", DATABASE_URL="postgresql://nowhere/none")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "TENURE_WRITE_KEY and TENURE_OPERATOR_KEY" in stderr


@pytest.mark.parametrize("module", ["api", "worker"])
def test_api_and_worker_refuse_development_keys_in_production(module):
    env = {name: value for name, value in os.environ.items() if not name.startswith("TENURE_")}
    env |= {"TENURE_ENVIRONMENT": "production", "TENURE_PUBLIC_URL": "https://tenure.example"}
    ended = subprocess.run(
        [sys.executable, "-m", module], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert "TENURE_ENVIRONMENT is production" in ended.stderr
    assert "TENURE_LINK_KEYS" in ended.stderr


def test_the_process_starts_without_database_or_temporal_and_stops_cleanly_on_sigterm(tmp_path, unused_tcp_port):
    process = start_api(
        tmp_path,
        API_PORT=str(unused_tcp_port),
        DATABASE_URL="postgresql://127.0.0.1:1/none",
        TEMPORAL_ADDRESS="127.0.0.1:1",
    )
    url = f"http://127.0.0.1:{unused_tcp_port}"
    deadline = time.monotonic() + 60
    while True:
        try:
            assert httpx.get(f"{url}/livez").json() == {"status": "ok"}
            break
        except httpx.TransportError:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
    ready = httpx.get(f"{url}/readyz", timeout=30)
    assert (ready.status_code, ready.json()["status"]) == (503, "failing")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0
