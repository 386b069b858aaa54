"""A stack that was stopped or killed starts again at once: when it says ready, it decides within two seconds."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from worker.settings import DEV_OPERATOR_KEY, DEV_WRITE_KEY, ROOT
from worker.stack.endpoints import Endpoints, read_endpoints
from worker.stack.process import end_leftovers

ROUNDS = (signal.SIGINT, signal.SIGKILL, signal.SIGKILL, signal.SIGINT)
"""How each start ends."""
DECISION_SECONDS = 2.0
READY_SECONDS = 30.0
"""Before the members of earlier starts were deleted, a server waited 39 to 50 s for them while everything said ready."""

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture(autouse=True)
def _no_process_stays(home: Path) -> Iterator[None]:
    """End what a killed supervisor has left, also if the test fails between two starts."""
    yield
    end_leftovers(list((home / "run").glob("*.pid")))


def start(home: Path) -> subprocess.Popen[bytes]:
    with (home.parent / f"{home.name}.log").open("ab") as log:
        environ = {**os.environ, "TENURE_LOCAL_PROVIDER": "false"}
        command = [sys.executable, "-m", "cli", "up", "--home", str(home), "--api-port", "0"]
        return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)


def ready(home: Path, up: subprocess.Popen[bytes]) -> Endpoints:
    """The endpoints once the API says ready. Its port is known from `ports.json` before the stack is up."""
    deadline = time.monotonic() + 120
    while True:
        assert up.poll() is None, (home.parent / f"{home.name}.log").read_text()
        assert time.monotonic() < deadline
        found = read_endpoints(home)
        if found is not None and found.supervisor == up.pid and is_ready(found.api_url):
            return found
        time.sleep(0.02)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=10, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def seconds_to_a_decision(url: str, user: str) -> float:
    """Time from an event to the first step of the run that it opens."""
    began = time.monotonic()
    event = {"userId": user, "event": "Signed Up"}
    httpx.post(f"{url}/v1/track", json=event, auth=(DEV_WRITE_KEY, ""), trust_env=False).raise_for_status()
    with httpx.Client(base_url=url, auth=(DEV_OPERATOR_KEY, ""), trust_env=False) as api:
        while True:
            runs = api.get(f"/v1/users/{user}/journeys").json()["items"]
            if any(run["state"] for run in runs):
                return time.monotonic() - began
            assert time.monotonic() < began + 60
            time.sleep(0.02)


def wait_until_published(url: str) -> None:
    deadline = time.monotonic() + 60
    with httpx.Client(base_url=url, auth=(DEV_OPERATOR_KEY, ""), trust_env=False) as api:
        while len(api.get("/v1/journeys").json()["items"]) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.slow  # four starts of the whole stack in processes of its own are the behaviour: 20 s of CPU
def test_a_stack_that_was_stopped_or_killed_decides_at_once_when_it_is_ready_again(home: Path) -> None:
    took: list[tuple[float, float]] = []
    addresses = set[tuple[str, str]]()
    for round_, end in enumerate(ROUNDS):
        began = time.monotonic()
        up = start(home)
        try:
            found = ready(home, up)
            to_ready = time.monotonic() - began
            if round_ == 0:
                wait_until_published(found.api_url)
            took.append((to_ready, seconds_to_a_decision(found.api_url, f"u{round_}")))
            addresses.add((found.api_url, found.temporal_address))
        finally:
            up.send_signal(end)
            up.wait(60)
    assert not list((home / "run").glob("*.pid"))
    for pid in found.pids.values():
        assert not psutil.pid_exists(pid)
    print(json.dumps({"ready and decided, seconds": [[round(value, 1) for value in pair] for pair in took]}))
    assert len(addresses) == 1, "a folder keeps its ports"
    assert max(decided for _, decided in took) < DECISION_SECONDS, took
    assert max(to_ready for to_ready, _ in took[1:]) < READY_SECONDS, took
