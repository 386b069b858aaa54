"""`docs/policy.md` is true of its example: a policy that passes the checker, and the evening that it turns into one mail."""

from __future__ import annotations

import re

import yaml

from journeys.gate.policy import load_policy
from tests.core.processes.test_cli import run
from tests.support import shipped_catalog

TEXT = (shipped_catalog.DOCS / "policy.md").read_text("utf-8")
FOLDER = shipped_catalog.DOCS / "examples" / "considerate"


def test_the_considerate_policy_passes_the_checker_beside_the_catalogue() -> None:
    result = run("lint", FOLDER / "policy.yaml")
    assert result.exit_code == 0, result.output


def test_C4_C7_the_evening_of_the_page_is_what_the_simulator_says() -> None:
    (told,) = re.findall(r"^```text simulated\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    journeys = ("setup-and-activation", "win-back-and-replenishment")
    files = ("--events", FOLDER / "events.jsonl", "--policy", FOLDER / "policy.yaml", "--until", "2027-01-07")
    result = run("simulate", *journeys, *files)
    assert result.exit_code == 0, result.output
    days = [line for line in result.stdout.splitlines() if line.startswith(("2027-01-05", "2027-01-06"))]
    assert days == told.splitlines()
    assert [line.split()[3] for line in days if line.startswith("2027-01-06")] == ["sent", "merged"]


def test_C7_the_shipped_policy_lets_no_phone_ring_at_night() -> None:
    rules = load_policy(yaml.safe_load((shipped_catalog.CATALOG / "policy.yaml").read_text("utf-8")))
    assert {rule.channel for rule in rules.quiet_hours} == {"sms", "push"}
    assert load_policy(yaml.safe_load((FOLDER / "policy.yaml").read_text("utf-8"))).consolidate
