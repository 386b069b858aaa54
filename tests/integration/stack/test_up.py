"""`make up` is of use at once: the real stack comes up with the shipped journeys published, and a person can be asked for."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from worker.settings import DEV_OPERATOR_KEY, DEV_WRITE_KEY
from worker.stack.endpoints import Endpoints, read_endpoints

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 150.0

pytestmark = pytest.mark.usefixtures("clean_environment")


def cli(*arguments: object, **environ: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cli", *map(str, arguments)]
    out = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environ}, stdout=out, stderr=out, text=True)


def ready(home: Path, process: subprocess.Popen[str]) -> Endpoints:
    deadline = time.monotonic() + PATIENCE
    while (found := read_endpoints(home)) is None:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def published(url: str) -> list[str]:
    answer = httpx.get(f"{url}/v1/journeys", auth=(DEV_OPERATOR_KEY, ""), trust_env=False).raise_for_status()
    return [journey["key"] for journey in answer.json()["items"]]


def test_a_new_stack_has_the_shipped_journeys_and_tells_where_a_person_is(home, servers, database_url):
    shared = {
        "TENURE_TEMPORAL_ADDRESS": servers.temporal,
        "TENURE_DATABASE_URL": database_url,
        "TENURE_HOME": str(home),
    }
    with cli("up", "--api-port", 0, TENURE_TASK_QUEUE=home.name, **shared) as up:
        found = ready(home, up)
        url = found.api_url
        assert httpx.get(f"{found.provider_url}/_health", trust_env=False).json() == {"accepted": 0}
        deadline = time.monotonic() + PATIENCE
        while len(published(url)) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        event = {"userId": "ada", "messageId": "1", "event": "Signed Up"}
        httpx.post(f"{url}/v1/track", json=event, auth=(DEV_WRITE_KEY, ""), trust_env=False).raise_for_status()
        told = ""
        while "setting_up" not in told:
            assert time.monotonic() < deadline, told
            # Without an address: that of the stack of this home.
            told = cli("where", "ada", TENURE_HOME=str(home)).communicate(timeout=60)[0]
        up.send_signal(signal.SIGINT)
        said = up.communicate(timeout=90)[0]
    assert up.returncode == 0
    assert said.count("published the catalogue's journeys: confirm-consent, renewal-readiness") == 1


def test_a_stack_may_be_started_without_the_shipped_journeys(home, servers, database_url):
    shared = {
        "TENURE_TEMPORAL_ADDRESS": servers.temporal,
        "TENURE_DATABASE_URL": database_url,
        "TENURE_HOME": str(home),
    }
    with cli("up", "--api-port", 0, TENURE_PUBLISH_CATALOG="false", TENURE_TASK_QUEUE=home.name, **shared) as up:
        url = ready(home, up).api_url
        time.sleep(3)
        assert published(url) == []
        up.send_signal(signal.SIGINT)
        said = up.communicate(timeout=90)[0]
    assert "Tenure is up" in said
    assert "published" not in said
