"""`cli import`: recorded events become fields, and open nothing; a repeated import changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from cli.api_client import ApiClient
from cli.app import build_cli
from cli.commands.events.history import BYTES_AT_ONCE, EVENTS_AT_ONCE, batches_of, calls_in
from cli.shipped_catalog import publish_shipped
from tests.support.api import CATALOG, OPERATE, WRITE, application, served

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def url(database_url: str) -> Iterator[str]:
    with served(application(database_url)) as address:
        yield address


def imported(url: str, file: Path, *more: str) -> Result:
    words = ["import", str(file), "--url", url, "--key", WRITE, *more]
    return CliRunner().invoke(build_cli("import"), words)


def json_lines(folder: Path, *calls: Mapping[str, Any]) -> Path:
    file = folder / "events.jsonl"
    file.write_text("".join(f"{json.dumps(call)}\n" for call in calls))
    return file


def test_a_file_of_segment_calls_builds_the_profile_and_opens_no_journey(url: str, tmp_path: Path) -> None:
    file = json_lines(
        tmp_path,
        {"type": "identify", "userId": "ada", "traits": {"plan": "pro"}, "timestamp": "2024-03-05T10:00:00Z"},
        {"type": "track", "event": "Signed Up", "userId": "ada"},
        {"type": "track", "event": "Odd Thing", "userId": "ada"},
    )
    with ApiClient(url, OPERATE) as api:
        publish_shipped(api, CATALOG)
        first, again = imported(url, file), imported(url, file)
        assert first.stdout == "2 accepted as history, 0 known already, 1 in quarantine\n"
        assert again.stdout == "0 accepted as history, 3 known already, 0 in quarantine\n"
        assert list(api.items("/v1/users/ada/journeys")) == []
        assert api.get("/v1/users/ada")["profile"]["plan"] == "pro"
        lines = [line["text"] for line in api.items("/v1/users/ada/timeline")]
        assert "signed_up came from segment; history, as its sender says: no journey received it" in lines


def test_a_csv_file_is_imported_with_the_name_of_its_event(url: str, tmp_path: Path) -> None:
    file = tmp_path / "signups.csv"
    file.write_text("userId,timestamp,plan\nada,2024-03-05,pro\nbob,2024-03-06,team\nbob,2024-03-06,team\n")
    done = imported(url, file, "--event", "Signed Up")
    assert done.stdout == "3 accepted as history, 0 known already, 0 in quarantine\n", "two equal lines are two events"


def test_what_the_api_refuses_is_said_with_its_reason(url: str, tmp_path: Path) -> None:
    file = json_lines(tmp_path, {"type": "trakc", "userId": "ada"}, {"type": "page", "userId": "ada"})
    done = imported(url, file)
    assert (done.exit_code, done.stdout) == (0, "1 accepted as history, 0 known already, 1 in quarantine\n")
    assert "line 1: type must be one of" in done.stderr
    wrong = CliRunner().invoke(build_cli("import"), ["import", str(file), "--url", url, "--key", "nobody"])
    assert wrong.exit_code == 1
    assert "0 accepted as history" in wrong.stderr


def test_a_call_keeps_its_own_context_and_its_account(tmp_path: Path) -> None:
    file = json_lines(tmp_path, {"userId": "ada", "event": "x", "groupId": "acme", "context": {"app": "shop"}})
    ((number, call),) = calls_in(file, None)
    assert (number, call["type"]) == (1, "track")
    assert call["context"] == {"app": "shop", "historical": True, "groupId": "acme"}
    assert "groupId" not in call


@pytest.mark.parametrize(("calls", "bytes_each"), [(1_200, 10), (12, BYTES_AT_ONCE // 4)], ids=["many", "large"])
def test_a_request_is_below_the_limits_of_the_api(calls: int, bytes_each: int) -> None:
    made = [(number, {"x": "y" * bytes_each}) for number in range(calls)]
    batches: Sequence[tuple[list[int], list[dict[str, Any]]]] = list(batches_of(made))
    assert [number for numbers, _ in batches for number in numbers] == list(range(calls))
    assert all(len(batch) <= EVENTS_AT_ONCE for _, batch in batches)
    assert all(
        len(httpx.Request("POST", "http://x", json={"batch": batch}).content) < 500 * 1024 for _, batch in batches
    )
