"""Every command without a server, an address or a known run: one sentence that says what is missing and what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.app import COMMANDS, build_cli
from worker.settings import ROOT

EVENT = '{"type": "track", "event": "Signed Up", "userId": "ada", "timestamp": "2026-05-03T08:00:00Z"}\n'
NEED_THE_API = {
    "import": ["events.jsonl"],
    "publish": ["urgent-support"],
    "where": ["ada"],
    "tasks": [],
    "parked": [],
    "quarantine": [],
    "keys": [],
    "preview": ["setup/first-steps", "--user", "ada"],
}
NEED_TEMPORAL = {"record": ["journey/x/u_1/-/1", "--to", "history.json"], "replay": []}
NEED_NO_SERVER = {
    "lint": [],
    "diagram": ["urgent-support"],
    "schema": [],
    "simulate": ["urgent-support", "--events", "events.jsonl"],
    "backtest": ["urgent-support", "--events", "events.jsonl", "--workers", "1"],
}
START_THEIR_OWN = {"up", "demo"}

pytestmark = pytest.mark.usefixtures("clean_environment", "stopped_stack")


@pytest.fixture
def stopped_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in which no stack runs, as the current folder and as the home; nothing listens on the API's port."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TENURE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TENURE_API_PORT", "9")
    (tmp_path / "events.jsonl").write_text(EVENT)


def run(*arguments: object) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(build_cli(words[0]), words)


def sentence(result: Result) -> str:
    """The single line of a failure; any other exception than the exit is a traceback for the user."""
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1, result.output
    (line,) = result.stderr.splitlines()
    return line


def test_every_command_is_tried():
    assert {*NEED_THE_API, *NEED_TEMPORAL, *NEED_NO_SERVER, *START_THEIR_OWN} == set(COMMANDS)


@pytest.mark.parametrize("name", sorted(NEED_THE_API))
def test_a_command_of_the_api_says_that_it_does_not_answer_and_how_to_start_it(name):
    line = sentence(run(name, *NEED_THE_API[name]))
    assert line.startswith("http://127.0.0.1:9 does not answer")
    assert "Start it with `make up`, or give --url" in line


@pytest.mark.parametrize("name", sorted(NEED_TEMPORAL))
def test_a_command_of_temporal_says_that_no_address_is_known(name):
    line = sentence(run(name, *NEED_TEMPORAL[name]))
    assert line == "TENURE_TEMPORAL_ADDRESS is not set: give host:port of a Temporal frontend, or run `make up`"


@pytest.mark.parametrize("name", sorted(NEED_TEMPORAL))
def test_a_command_of_temporal_says_that_it_does_not_answer(name):
    line = sentence(run(name, *NEED_TEMPORAL[name], "--address", "127.0.0.1:9"))
    assert line == "Temporal at 127.0.0.1:9 does not answer. Start it with `make up`, or give --address."


@pytest.mark.parametrize("address", ["nowhere", "nowhere:x"])
def test_an_address_without_a_port_is_refused_by_its_variable(address):
    assert "TENURE_TEMPORAL_ADDRESS" in sentence(run("record", *NEED_TEMPORAL["record"], "--address", address))


@pytest.mark.parametrize("name", sorted(NEED_NO_SERVER))
def test_a_command_without_a_server_works(name):
    result = run(name, *NEED_NO_SERVER[name])
    assert result.exit_code == 0, (result.output, result.exception)


def test_a_file_that_is_no_history_is_named(tmp_path):
    (tmp_path / "history.json").write_text("{}x")
    (tmp_path / "history.json.gz").write_bytes(b"x")
    for name in ("history.json", "history.json.gz"):
        assert sentence(run("replay", name)).startswith(f"{name} is no recorded history")
    assert run("replay", "none.json").exit_code == 2


def test_record_names_a_run_that_temporal_does_not_have(temporal_address):
    line = sentence(run("record", *NEED_TEMPORAL["record"], "--address", temporal_address))
    assert line == f"Temporal at {temporal_address} has no workflow journey/x/u_1/-/1."


@pytest.fixture
def own_catalog(tmp_path, monkeypatch) -> Path:
    """A catalogue with one journey of another name, chosen by TENURE_CATALOG."""
    folder = Path(shutil.copytree(ROOT / "catalog", tmp_path / "own"))
    journey = (folder / "journeys" / "urgent-support.yaml").rename(folder / "journeys" / "tickets.yaml")
    journey.write_text(journey.read_text().replace("journey: urgent-support", "journey: open-tickets"))
    monkeypatch.setenv("TENURE_CATALOG", str(folder))
    return folder


def test_all_commands_read_the_catalogue_of_the_setting(own_catalog):
    for name in ("simulate", "backtest", "diagram"):
        arguments = NEED_NO_SERVER[name]
        assert run(name, "open-tickets", *arguments[1:]).exit_code == 0, name
        refused = run(name, *arguments)
        assert refused.exit_code == 2, "the shipped journey is not in this catalogue"
    (own_catalog / "journeys" / "broken.yaml").write_text("journey: broken\n")
    assert "own/journeys/broken.yaml:" in run("lint").stdout
    (own_catalog / "templates" / "setup" / "first-steps.md").unlink()
    assert run("preview", "setup/first-steps").exit_code == 1


def test_a_misspelt_key_is_answered_with_the_nearest(own_catalog):
    output = " ".join(run("simulate", "open-tikets", "--events", "events.jsonl").output.replace("│", " ").split())
    assert "did you mean open-tickets?" in output


@pytest.mark.parametrize("missing", ["tracking-plan.yaml", "policy.yaml", "team.yaml", "consent.yaml"])
def test_a_file_that_the_catalogue_lacks_is_named(own_catalog, missing):
    (own_catalog / missing).unlink()
    line = sentence(run("simulate", "open-tickets", "--events", "events.jsonl"))
    assert line == f"own/{missing} cannot be read (No such file or directory): the catalogue needs it."


def test_a_catalogue_that_is_no_folder_is_refused_by_its_variable(monkeypatch):
    monkeypatch.setenv("TENURE_CATALOG", "nowhere")
    for name in ("lint", "simulate"):
        result = run(name, *NEED_NO_SERVER[name])
        assert result.exit_code == 2
        assert "nowhere" in result.output
