"""Content on the command line: `lint` reports faults and overdue reviews, `preview` renders a template."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.core.processes.test_cli import catalog, run, spoil

__all__ = ["catalog"]

pytestmark = pytest.mark.usefixtures("clean_environment")
VARIANT = "templates/setup/first-steps@admin.md"


def lines(result) -> list[str]:
    return [f"{Path(line.partition(':')[0]).name}:{line.partition(':')[2]}" for line in result.stdout.splitlines()]


def test_C9_lint_reports_every_problem_of_rules_and_variants_with_file_and_line(catalog):
    spoil(catalog / "content.yaml", "values: [champion,", "values: [boss, champion,")
    spoil(catalog / VARIANT, "---\nAs an", "action: {url: https://other.example/}\n---\nAs an")
    (catalog / "templates/setup/first-steps@vip.sv.md").write_text("---\nsubject: x\n---\nx")
    result = run("lint", "--catalog", catalog)
    assert result.exit_code == 1
    problems = [line.split(" — ")[0].split("; ")[0] for line in lines(result)]
    assert problems == [
        "content.yaml:11:1 TEMPLATE boss is not a role of the tracking plan",
        "first-steps@admin.md:3:1 TEMPLATE action.url: the template has https://app.example.com/setup",
        "first-steps@vip.sv.md:1:1 TEMPLATE 'sv' is not one of the locales in content.yaml",
        "first-steps@vip.sv.md:1:1 TEMPLATE 'vip' is neither a channel nor a value of a dimension in content.yaml",
    ]


def test_C9_lint_of_a_variant_alone_checks_it_with_its_template(catalog):
    spoil(catalog / VARIANT, "As an administrator", "{{ nobody }}")
    result = run("lint", catalog / VARIANT, "--catalog", catalog)
    assert lines(result)[0].startswith("first-steps@admin.md:4:1 TEMPLATE body: 'nobody' is not declared")


def test_C11_lint_lists_overdue_reviews_and_exits_with_zero(catalog):
    spoil(catalog / "templates/support/follow-up.md", "2027-01-31", "2020-01-31")
    spoil(catalog / VARIANT, "---\nAs an", "review_date: 2020-02-01\n---\nAs an")
    result = run("lint", "--catalog", catalog)
    assert result.exit_code == 0
    assert lines(result) == [
        "first-steps@admin.md:1:1 OVERDUE was due for review on 2020-02-01; its owner is onboarding-team",
        "follow-up.md:1:1 OVERDUE was due for review on 2020-01-31; its owner is support-team",
    ]


def test_C10_lint_lists_a_task_without_a_deadline_and_exits_with_zero(catalog):
    spoil(
        catalog / "journeys/setup-and-activation.yaml",
        "        sla: PT24H\n        escalate: [cs-lead, cs-director]\n",
        "",
    )
    result = run("lint", "--catalog", catalog)
    assert result.exit_code == 0
    (line,) = lines(result)
    assert line.startswith("setup-and-activation.yaml:30:9 UNDATED the task onboarding-call has no deadline")


def test_C11_preview_renders_a_template_for_a_sample_person(catalog, tmp_path):
    sample = tmp_path / "ada.json"
    sample.write_text(json.dumps({"first_name": "Ada", "role": "admin"}))
    page = tmp_path / "page.html"
    result = run("preview", "setup/first-steps", "--profile", sample, "--html", page, "--catalog", catalog)
    assert result.exit_code == 0
    assert result.stdout.startswith("Subject: Ada, set it up once for everybody\n\nAs an administrator")
    assert "(admin, live) by email" in result.stderr
    assert "missing: profile.last_step, profile.use_case" in result.stderr
    assert "Continue the set-up" in page.read_text()
    german = run("preview", "setup/first-steps", "--locale", "de-AT", "--catalog", catalog)
    assert german.stdout.startswith("Subject: Ihre ersten drei Schritte")


def test_C11_preview_names_missing_data_and_accepts_it_as_an_option(catalog):
    result = run("preview", "support/follow-up", "--catalog", catalog)
    assert result.exit_code == 1
    assert "it cannot be rendered: support/follow-up: 'ticket_id' is undefined" in result.stderr
    given = run("preview", "support/follow-up", "-d", "ticket_id=T-7", "--catalog", catalog)
    assert given.stdout.startswith("Subject: Is ticket T-7 really solved?")
    signed = run("preview", "renewal/plan-together", "-d", "renewal_date=2027-01-01T00:00:00Z", "--catalog", catalog)
    assert signed.stdout.startswith("From: The customer success team\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("setup/nothing",), "setup/nothing is not in"),
        (("setup/first-steps", "--variant", "fr"), "or no variant of setup/first-steps"),
        (("setup/first-steps", "--data", "x"), "give NAME=VALUE"),
        (("setup/first-steps", "--user", "ada", "--url", "http://127.0.0.1:9"), "does not answer"),
    ],
)
def test_preview_fails_with_a_reason_for_invalid_arguments(catalog, arguments, reason):
    result = run("preview", *arguments, "--catalog", catalog)
    assert result.exit_code != 0
    assert reason in result.stderr
