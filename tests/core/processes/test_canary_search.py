"""The search for canaries at the end of a test run finds what was planted, and fails the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.canaries import KEYS_OF_TESTS, PERSONAL, RUN_FOLDER, SECRETS, faults_of_run
from worker.settings import ROOT

HARMLESS = (
    "go.temporal.io/server@v1.32.2/service and 2026-11-30T04:00:00.123+00:00 and tenure_outbox_waiting_rows 10001.0"
)
PLANTED = {
    **PERSONAL,
    **SECRETS,
    **KEYS_OF_TESTS,
    "database password": "a-password-of-postgres",
    "a mail address": "somebody@elsewhere.example",
    "a phone number": "+436641234567",
    "an API key": "tenure_sk_" + "a" * 40,
}
SCRIPT = """
import structlog

def test_that_logs():
    structlog.get_logger().warning("told", text={text!r}, password="hidden anyway")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a run with a stack that has told nothing."""
    logs = tmp_path / "home-1" / "logs"
    logs.mkdir(parents=True, mode=0o700)
    (tmp_path / "home-1").chmod(0o700)
    logs.chmod(0o700)
    (logs / "api.log").write_text(f"{HARMLESS}\n")
    (tmp_path / "servers.json").write_text(json.dumps({"postgres": "postgresql://u:a-password-of-postgres@/x?host=/y"}))
    return tmp_path


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("place", ["home-1/logs/api.log", "postgres.log", "metrics-1.prom"])
def test_a_planted_canary_is_found_in_logs_and_metrics(folder, place, name):
    assert faults_of_run(folder) == []
    with (folder / place).open("a") as log:
        log.write(f"{HARMLESS}\nand {PLANTED[name].upper() if name in PERSONAL else PLANTED[name]} too\n")
    assert f"{name} is in {place}, line {3 if 'home' in place else 2}" in faults_of_run(folder)


@pytest.mark.parametrize("place", ["home-1", "home-1/logs", "home-1/postgres"])
def test_a_file_that_others_can_read_is_found(folder, place):
    (folder / place).mkdir(exist_ok=True, mode=0o700)
    (folder / "home-1" / "open.txt").touch(mode=0o600)
    (folder / place).chmod(0o755)
    assert [fault.partition(" is open")[0] for fault in faults_of_run(folder)] != []
    (folder / place).chmod(0o700)
    (folder / "home-1" / "open.txt").chmod(0o644)
    assert [fault.partition(" is open")[0] for fault in faults_of_run(folder)] == ["home-1/open.txt"]


@pytest.mark.parametrize(("text", "code"), [("tenure_outbox", 0), ("CanarinA", 1)])
def test_a_run_that_tells_a_canary_fails(tmp_path, text, code):
    """Canarina is a name: no pattern of the redaction knows it, so that a line with it is a leak."""
    script = tmp_path / "test_telling.py"
    script.write_text(SCRIPT.format(text=text))
    env = {name: value for name, value in os.environ.items() if name not in {RUN_FOLDER, "PYTEST_XDIST_WORKER"}}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-c", "pyproject.toml", str(script)]
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == code, run.stdout + run.stderr
    assert ("name is in tests-main.log, line 1" in run.stdout) == bool(code)
