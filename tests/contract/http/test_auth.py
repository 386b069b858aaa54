"""Every route declares its scope and needs a key; every refusal is a problem document that says whose turn it is."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest

from api.http.auth import BootstrapKeys
from api.http.limits import Limits
from tests.support.api import OPERATE, WRITE, application, client
from worker.settings import ROOT


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


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json"])
async def test_metrics_and_description_need_an_operators_key(api, app, path):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as stranger:
        assert (await stranger.get(path)).status_code == 401
        assert (await stranger.get(path, auth=(WRITE, ""))).status_code == 403
    assert (await api.get(path)).status_code == 200


async def test_readiness_tells_its_checks_only_to_an_operators_key(api, app):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as stranger:
        for auth in (None, (WRITE, ""), ("wrong", "")):
            answer = await stranger.get("/readyz", auth=auth)
            assert (answer.status_code, list(answer.json())) == (200, ["status"])
    assert "database" in (await api.get("/readyz")).json()["checks"]


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
        BootstrapKeys(write="same", operator="same")


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


def test_the_process_starts_without_database_or_temporal_and_stops_cleanly_on_sigterm(
    tmp_path, unused_tcp_port_factory
):
    unused_tcp_port, operations_port = unused_tcp_port_factory(), unused_tcp_port_factory()
    process = start_api(
        tmp_path,
        API_PORT=str(unused_tcp_port),
        OPERATIONS_ADDRESS=f"127.0.0.1:{operations_port}",
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
    assert (ready.status_code, ready.json()) == (503, {"status": "failing"})
    assert int(ready.headers["retry-after"]) > 0
    for path in ("/metrics", "/openapi.json"):
        assert httpx.get(f"{url}{path}").status_code == 401
    operations = f"http://127.0.0.1:{operations_port}"
    in_depth = httpx.get(f"{operations}/readyz", timeout=30)
    assert (in_depth.status_code, in_depth.json()["checks"]["database"]["status"]) == (503, "failing")
    assert b"tenure_http_requests" in httpx.get(f"{operations}/metrics").content
    assert httpx.get(f"{operations}/openapi.json").json()["openapi"].startswith("3.1")
    for path in ("/v1/tasks", "/v1/track"):
        assert httpx.get(f"{operations}{path}").status_code == 404, "it has no other routes"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0
