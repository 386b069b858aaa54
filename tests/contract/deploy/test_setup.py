"""`make up` and `make demo` install what runs only, and need nothing of the rest."""

import re
import subprocess
import sys
import tomllib

import pytest

from worker.settings import ROOT

IMPORTED = {
    "facebook-business": "facebook_business", "firebase-admin": "firebase_admin", "google-ads-datamanager": "google.ads",
    "hubspot-api-client": "hubspot", "hypothesis": "hypothesis", "import-linter": "importlinter", "mypy": "mypy", "packaging": "",
    "playwright": "playwright", "py-spy": "py_spy", "pytest": "pytest", "pytest-asyncio": "pytest_asyncio",
    "pytest-xdist": "xdist", "pywebpush": "pywebpush", "resend": "resend", "ruff": "ruff", "schemathesis": "schemathesis",
    "segment-analytics-python": "segment", "simple-salesforce": "simple_salesforce", "slack-sdk": "slack_sdk",
    "twilio": "twilio", "types-psutil": "", "types-pyyaml": "", "zenpy": "zenpy",
}  # fmt: skip
"""Modules of the packages for development."""
BLOCKED = f"import sys; sys.modules.update(dict.fromkeys({sorted(filter(None, IMPORTED.values()))!r}));"


def planned(target: str) -> str:
    """The commands of a target, in a folder without an environment."""
    command = ["make", "--dry-run", "VENV=/nonexistent", target]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_every_package_for_development_is_known_here():
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    assert {re.match(r"[\w-]+", line)[0] for line in groups["dev"]} == set(IMPORTED)


@pytest.mark.parametrize(("target", "everything"), [("up", False), ("demo", False), ("test", True), ("lint", True)])
def test_only_the_targets_of_development_install_the_packages_of_development(target, everything):
    commands = planned(target)
    assert "uv sync --quiet --frozen --inexact" in commands.replace("$uv", "uv")
    assert ("--no-dev" not in commands) == everything


@pytest.mark.parametrize(
    "module",
    ["cli.commands.up", "cli.commands.demo", "worker.__main__", "api.__main__", "store.migrate", "worker.stack.mail_sink",
     "worker.stack.mail_page.app", "worker.stack.providers.app"],
)  # fmt: skip
def test_what_runs_needs_no_package_of_development(module):
    subprocess.run([sys.executable, "-c", f"{BLOCKED} import {module}"], cwd=ROOT, check=True)
