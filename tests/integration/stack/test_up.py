"""`python -m cli up` starts the real stack with the shipped journeys published, and `where` shows a person."""

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
TIMEOUT_SECONDS = 150.0

pytestmark = pytest.mark.usefixtures("clean_environment")


def cli(*arguments: object, **environ: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cli", *map(str, arguments)]
    out = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environ}, stdout=out, stderr=out, text=True)


def wait_for_endpoints(home: Path, process: subprocess.Popen[str]) -> Endpoints:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (endpoints := read_endpoints(home)) is None:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return endpoints


def published(url: str) -> list[str]:
    answer = httpx.get(f"{url}/v1/journeys", auth=(DEV_OPERATOR_KEY, ""), trust_env=False).raise_for_status()
    return [journey["key"] for journey in answer.json()["items"]]


def test_a_new_stack_publishes_the_shipped_journeys_and_runs_them(home, servers, database_url):
    shared = {
        "TENURE_TEMPORAL_ADDRESS": servers.temporal,
        "TENURE_DATABASE_URL": database_url,
        "TENURE_HOME": str(home),
    }
    with cli("up", "--api-port", 0, TENURE_TASK_QUEUE=home.name, **shared) as up:
        endpoints = wait_for_endpoints(home, up)
        url = endpoints.api_url
        assert httpx.get(f"{endpoints.provider_url}/_health", trust_env=False).json() == {"accepted": 0}
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while len(published(url)) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        event = {"userId": "ada", "messageId": "1", "event": "Signed Up"}
        httpx.post(f"{url}/v1/track", json=event, auth=(DEV_WRITE_KEY, ""), trust_env=False).raise_for_status()
        output = ""
        while "setting_up" not in output:
            assert time.monotonic() < deadline, output
            # Without `--url` the command uses the stack of this home.
            output = cli("where", "ada", TENURE_HOME=str(home)).communicate(timeout=60)[0]
        up.send_signal(signal.SIGINT)
        output_of_up = up.communicate(timeout=90)[0]
    assert up.returncode == 0
    assert output_of_up.count("published version 1 of the catalogue: confirm-consent, renewal-readiness") == 1


def test_a_stack_can_start_without_the_shipped_journeys(home, servers, database_url):
    shared = {
        "TENURE_TEMPORAL_ADDRESS": servers.temporal,
        "TENURE_DATABASE_URL": database_url,
        "TENURE_HOME": str(home),
    }
    with cli("up", "--api-port", 0, TENURE_PUBLISH_CATALOG="false", TENURE_TASK_QUEUE=home.name, **shared) as up:
        url = wait_for_endpoints(home, up).api_url
        time.sleep(3)
        assert published(url) == []
        up.send_signal(signal.SIGINT)
        output_of_up = up.communicate(timeout=90)[0]
    assert "Tenure is up" in output_of_up
    assert "published" not in output_of_up
