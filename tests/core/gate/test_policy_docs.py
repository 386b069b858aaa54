"""`docs/policy.md`: its example policy passes the checker, and its example evening is what the simulator prints."""

from __future__ import annotations

import re

import yaml

from journeys.gate.policy import load_policy
from tests.core.processes.test_cli import run
from tests.support import shipped_catalog

TEXT = (shipped_catalog.DOCS / "policy.md").read_text("utf-8")
FOLDER = shipped_catalog.DOCS / "examples" / "considerate"


def test_the_example_policy_passes_the_checker_with_the_catalogue() -> None:
    result = run("lint", FOLDER / "policy.yaml")
    assert result.exit_code == 0, result.output


def test_C4_C7_the_simulator_prints_the_timeline_of_the_page() -> None:
    (shown,) = re.findall(r"^```text simulated\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    journeys = ("setup-and-activation", "win-back-and-replenishment")
    files = ("--events", FOLDER / "events.jsonl", "--policy", FOLDER / "policy.yaml", "--until", "2027-01-07")
    result = run("simulate", *journeys, *files)
    assert result.exit_code == 0, result.output
    days = [line for line in result.stdout.splitlines() if line.startswith(("2027-01-05", "2027-01-06"))]
    assert days == shown.splitlines()
    assert [line.split()[3] for line in days if line.startswith("2027-01-06")] == ["merged", "merged"]


def test_C7_the_shipped_policy_has_quiet_hours_for_sms_and_push() -> None:
    rules = load_policy(yaml.safe_load((shipped_catalog.CATALOG / "policy.yaml").read_text("utf-8")))
    assert {rule.channel for rule in rules.quiet_hours} == {"sms", "push"}
    assert load_policy(yaml.safe_load((FOLDER / "policy.yaml").read_text("utf-8"))).consolidate
