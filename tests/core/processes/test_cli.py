"""Commands: their output, which editors can follow, and their exit codes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.app import COMMANDS, build_cli
from cli.commands.schema import json_schema
from tests.support import shipped_catalog

JOURNEY = """journey: example
entry: {on: signed_up}
goal: {on: activated, within: P30D}
topic: onboarding
start: here
states:
  here: {do: {send: setup/checklist}, after: {P3D: nowhere}}
"""
LINE = re.compile(r"^(?P<file>.+?):(?P<line>\d+):(?P<column>\d+) (?P<code>T\d+|TEMPLATE) .+ — .+ — .+$")

pytestmark = pytest.mark.usefixtures("clean_environment")


def run(*arguments: object) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(build_cli(words[0]), words)


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A copy of the shipped catalogue that a test may change."""
    return Path(shutil.copytree(shipped_catalog.CATALOG, tmp_path / "catalog"))


def spoil(path: Path, before: str, after: str) -> Path:
    text = path.read_text("utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), "utf-8")
    return path


def problems_in(result: Result) -> list[tuple[str, str, int]]:
    """`(file, code, line)` of every problem that was printed."""
    matches = [LINE.match(line) for line in result.stdout.splitlines()]
    assert all(matches), result.stdout
    return [(Path(match["file"]).name, match["code"], int(match["line"])) for match in matches if match]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_text(name):
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_the_shipped_catalogue_has_no_problem():
    result = run("lint")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no problems" in result.stderr


def test_lint_reports_a_problem_of_a_journey_with_place_harm_and_fix(tmp_path):
    path = tmp_path / "example.yaml"
    path.write_text(JOURNEY, "utf-8")
    result = run("lint", path)
    assert result.exit_code == 1
    assert ("example.yaml", "T202", 7) in problems_in(result)
    assert str(path) in result.stdout
    assert "1 file, 1 problem" in result.stderr


def test_lint_reports_a_syntax_error_like_any_other_problem(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("journey: broken\n  nonsense: [", "utf-8")
    result = run("lint", path)
    assert result.exit_code == 1
    assert [code for _, code, _ in problems_in(result)] == ["T102"]


def test_lint_reports_only_the_given_files_but_checks_them_with_the_catalogue(catalog, tmp_path):
    spoil(catalog / "journeys" / "renewal-readiness.yaml", "topic: renewal", "topic: other")
    rival = tmp_path / "rival.yaml"
    rival.write_text(JOURNEY.replace("nowhere", "here").replace("topic:", "moment: activation\ntopic:"), "utf-8")
    result = run("lint", "--catalog", catalog, rival)
    assert {file for file, _, _ in problems_in(result)} == {"rival.yaml"}
    assert "T601" in {code for _, code, _ in problems_in(result)}


def test_lint_checks_a_given_journey_in_place_of_the_catalogues_own(tmp_path):
    copy = tmp_path / "mine.yaml"
    copy.write_text(shipped_catalog.TEXTS["setup-and-activation"], "utf-8")
    assert run("lint", copy).exit_code == 0


@pytest.mark.parametrize(
    ("file", "before", "after", "code"),
    [
        ("tracking-plan.yaml", "source: website", "source: nobody", "T702"),
        ("tracking-plan.yaml", "type: double", "type: number", "T110"),
        ("policy.yaml", "limit: 4", "limit: many", "T110"),
        ("policy.yaml", "cooldowns:", "cooldown:", "T108"),
        ("policy.yaml", "brake:", "answered: {within: P2D}\nbrake:", "T110"),
        ("team.yaml", "Europe/Berlin", "Europe/Berlim", "T110"),
        ("team.yaml", "remind: PT1H", "remind: PT1H\nteams: {night: {}}", "T904"),
        ("templates/setup/checklist.md", "status: live", "status: lively", "TEMPLATE"),
    ],
)
def test_lint_checks_plan_policy_team_and_templates(catalog, file, before, after, code):
    path = spoil(catalog / file, before, after)
    result = run("lint", "--catalog", catalog)
    assert result.exit_code == 1
    assert {(name, reported) for name, reported, _ in problems_in(result)} == {(path.name, code)}, (
        "and no other problem"
    )


def test_lint_without_a_readable_plan_reports_the_plan_and_checks_no_journey(catalog):
    spoil(catalog / "tracking-plan.yaml", "version: 1", "version: first")
    result = run("lint", "--catalog", catalog, catalog / "journeys" / "urgent-support.yaml")
    assert result.exit_code == 1
    assert [file for file, _, _ in problems_in(result)] == ["tracking-plan.yaml"]
    assert "the tracking plan cannot be read" in result.stderr


def test_lint_of_a_missing_file_is_a_usage_error():
    result = run("lint", "no-such.yaml")
    assert result.exit_code == 2
    assert "no-such.yaml is not a file" in result.output


def test_H5_unread_fields_are_listed_with_personal_data_first(catalog):
    spoil(catalog / "tracking-plan.yaml", "profile:\n", "profile:\n  birthday: {type: timestamp, personal: true}\n")
    result = run("lint", "--catalog", catalog, "--unread")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0] == "profile.birthday  (personal, from an unnamed source)"
    assert "profile.activation_status  (from product)" in lines


@pytest.mark.parametrize(
    "read",
    [
        "profile.account_fit",  # a guard
        "profile.rhythm_days",  # a duration
        "profile.first_name",  # a template
        "profile.use_case",  # data of a task, and a promise
        "account.renewal_date",  # an anchor
        "profile.email",  # the channel
        "profile.role",  # roles of an account
        "event.integration_failed.code",  # data of a message
        "event.ticket_resolved.ticket_id",  # a case
        "event.ticket_opened.priority",  # the gate
    ],
)
def test_H5_a_field_that_is_read_is_not_listed(read):
    assert read not in run("lint", "--unread").stdout.split()


def test_H5_a_field_is_listed_when_its_last_reader_is_removed(catalog):
    (catalog / "journeys" / "win-back-and-replenishment.yaml").unlink()
    listed = run("lint", "--catalog", catalog, "--unread").stdout.split()
    assert {"profile.rhythm_days", "profile.lifetime_value"} <= set(listed)


@pytest.mark.parametrize("kind", ["journey", "tracking-plan"])
def test_schema_prints_the_json_schema_of_the_model(kind):
    result = run("schema", kind)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json_schema(kind)


def test_an_unknown_schema_is_refused_with_a_list_of_known_ones():
    result = run("schema", "poem")
    assert result.exit_code == 2
    assert "tracking-plan" in result.output


def test_diagram_draws_a_journey_by_key_or_from_a_file_and_marks_a_state():
    by_key = run("diagram", "urgent-support")
    assert by_key.exit_code == 0
    assert by_key.stdout.startswith("stateDiagram-v2\n")
    assert run("diagram", shipped_catalog.CATALOG / "journeys" / "urgent-support.yaml").stdout == by_key.stdout
    assert "class s1 here" in run("diagram", "urgent-support", "--here", "settling").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no-such",), "neither a file nor a journey of the catalogue"),
        (("urgent-support", "--here", "nowhere"), "open, settling, settled"),
    ],
)
def test_diagram_of_an_unknown_journey_or_state_is_refused_with_known_ones(arguments, message):
    result = run("diagram", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


def test_a_journey_with_problems_is_not_simulated_and_the_error_names_lint(tmp_path):
    path = tmp_path / "example.yaml"
    path.write_text(JOURNEY.replace("after: {P3D: nowhere}", "on: {activated: {when: no.such}}"), "utf-8")
    result = run("simulate", path, "--events", "cdnow")
    assert result.exit_code == 1
    assert f"python -m cli lint {path}" in result.stderr


@pytest.mark.parametrize("arguments", [("publish", "urgent-support"), ("where", "ada")])
def test_an_api_that_does_not_answer_is_reported_in_one_line(arguments):
    result = run(*arguments, "--url", "http://127.0.0.1:9", "--key", "k")
    assert result.exit_code == 1
    assert result.stderr.startswith("http://127.0.0.1:9 does not answer")
    assert len(result.stderr.splitlines()) == 1


def test_publish_does_not_send_a_file_with_problems(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("journey: broken", "utf-8")
    result = run("publish", path, "--url", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert all(LINE.match(line) for line in result.stderr.splitlines()), result.stderr


def test_a_plan_that_cannot_be_published_is_refused_by_the_simulator_too(catalog, tmp_path):
    plan = spoil(catalog / "tracking-plan.yaml", "source: product", "source: nobody")
    events = tmp_path / "events.jsonl"
    events.write_text("")
    result = run("simulate", "setup-and-activation", "--events", events, "--plan", plan)
    assert result.exit_code == 1
    assert f"{plan}:" in result.stderr
    assert "nobody" in result.stderr
