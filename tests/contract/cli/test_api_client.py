"""The commands that call a running API: their output and their errors."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from cli.api_client import ApiClient
from cli.app import build_cli
from cli.commands.up import publish_catalog
from cli.shipped_catalog import publish_shipped
from cli.terminal import harmless, one_line_of
from store.database import Database
from tests.support.api import CATALOG, OPERATE, WRITE, application, served
from worker.settings import load_settings

SHIPPED = [
    "confirm-consent", "renewal-readiness", "setup-and-activation", "urgent-support", "win-back-and-replenishment"
]  # fmt: skip

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def url(database_url: str) -> Iterator[str]:
    with served(application(database_url)) as address:
        yield address


@pytest.fixture
def api(url: str) -> Iterator[ApiClient]:
    with ApiClient(url, OPERATE) as client:
        yield client


def run(url: str, *arguments: object, key: str = OPERATE) -> Result:
    words = [*map(str, arguments), "--url", url, "--key", key]
    return CliRunner().invoke(build_cli(words[0]), words)


def keys(api: ApiClient) -> list[str]:
    return [journey["key"] for journey in api.items("/v1/journeys")]


def test_an_empty_database_gets_the_shipped_journeys_once(api):
    message = publish_shipped(api, CATALOG)
    assert message == f"published version 1 of the catalogue: {', '.join(SHIPPED)}"
    assert keys(api) == SHIPPED
    assert publish_shipped(api, CATALOG) is None
    assert {journey["version"] for journey in api.items("/v1/journeys")} == {1}


def test_an_interrupted_publication_of_the_shipped_journeys_is_completed(api):
    api.publish("urgent-support", (CATALOG / "journeys" / "urgent-support.yaml").read_bytes(), "catalog")
    assert publish_shipped(api, CATALOG) is not None
    assert keys(api) == SHIPPED


def test_nothing_is_published_to_a_database_in_which_a_person_has_published(api, url):
    assert run(url, "publish", "urgent-support", "--by", "ada").exit_code == 0
    assert publish_shipped(api, CATALOG) is None
    assert keys(api) == ["urgent-support"]


def test_up_publishes_with_the_operator_key_and_prints_one_line(api, url, capsys):
    publish_catalog(url, load_settings(operator_key=OPERATE))
    assert capsys.readouterr().out.splitlines() == [f"published version 1 of the catalogue: {', '.join(SHIPPED)}"]
    assert keys(api) == SHIPPED


def test_up_prints_the_file_that_cannot_be_published_and_does_not_fail(api, url, tmp_path, capsys):
    catalog = tmp_path / "catalog"
    shutil.copytree(CATALOG, catalog)
    (catalog / "journeys" / "odd.yaml").write_text("journey: odd\nentry: {on: nothing}\nstart: a\nstates: {a: {}}\n")
    publish_catalog(url, load_settings(operator_key=OPERATE, catalog=catalog))
    assert "odd.yaml" in capsys.readouterr().err
    assert keys(api) == []


def test_publish_prints_the_version_or_that_the_text_was_already_published(url):
    first, second = (run(url, "publish", "urgent-support", "setup-and-activation") for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert [line.split(" (")[0] for line in first.stdout.splitlines()] == [
        "urgent-support: version 1",
        "setup-and-activation: version 1",
    ]
    assert all(line.endswith("was published already") for line in second.stdout.splitlines())


def test_publish_prints_every_problem_and_continues_with_the_other_files(api, url, tmp_path: Path):
    odd = tmp_path / "odd.yaml"
    odd.write_text("journey: odd\nentry: {on: nothing}\ntopic: t\nstart: a\nstates:\n  a: {do: {send: no/such}}\n")
    result = run(url, "publish", odd, "urgent-support")
    assert result.exit_code == 1
    assert f"{odd}:2:9 T402 nothing is not in the tracking plan" in result.stderr
    assert f"{odd}:6:12 T505 no/such is not in the catalogue — There would be nothing to send. — Name" in result.stderr
    assert keys(api) == ["urgent-support"]


def test_publish_without_files_publishes_the_whole_catalogue_as_one_version(api, url, tmp_path: Path):
    catalog = tmp_path / "catalog"
    shutil.copytree(CATALOG, catalog)
    first, second = (run(url, "publish", "--catalog", catalog) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0), first.output
    assert first.stdout.startswith("catalogue: version 1 (")
    assert first.stdout.splitlines()[1:] == [f"{key}: version 1" for key in SHIPPED]
    assert "was published already" in second.stdout
    (catalog / "journeys" / "urgent-support.yaml").unlink()
    (catalog / "templates" / "setup" / "checklist.md").write_text("---\nowner: 1\n---\n")
    refused = run(url, "publish", "--catalog", catalog)
    assert refused.exit_code == 1
    assert f"{catalog}/templates/setup/checklist.md:" in refused.stderr
    shutil.copy(CATALOG / "templates" / "setup" / "checklist.md", catalog / "templates" / "setup")
    refused = run(url, "publish", "--catalog", catalog)
    assert "urgent-support is live and not in the files: name it under retire, or add it" in refused.stderr
    retired = run(url, "publish", "--catalog", catalog, "--retire", "urgent-support")
    assert retired.stdout.splitlines()[-1] == "urgent-support: retired, its open runs go on"


def test_publish_with_the_write_key_fails_with_a_clear_error(url):
    result = run(url, "publish", "urgent-support", key=WRITE)
    assert result.exit_code == 1
    assert "needs an operator's with the scope publish" in result.stderr


def test_where_shows_a_persons_journeys_and_their_timeline(url, api):
    publish_shipped(api, CATALOG)
    calls = [
        {"type": "identify", "messageId": "1", "userId": "ada", "traits": {"first_name": "Ada"}},
        {"type": "track", "messageId": "2", "userId": "ada", "event": "Signed Up"},
    ]
    httpx.post(f"{url}/v1/batch", json={"batch": calls}, auth=(WRITE, ""), trust_env=False).raise_for_status()
    result = run(url, "where", "ada")
    assert result.exit_code == 0, result.output
    assert "first_name=Ada" in result.stdout
    assert "setup-and-activation v1" in result.stdout
    assert "signed_up" in result.stdout


def test_where_ends_with_what_is_held_and_the_quarantine_command_explains_replays_and_discards(url, api):
    calls = [{"type": "identify", "messageId": "1", "userId": "ada", "traits": {"first_name": "Ada"}}]
    calls += [{"type": "track", "messageId": f"b{n}", "userId": "ada", "event": "Button Clicked"} for n in (1, 2)]
    httpx.post(f"{url}/v1/batch", json={"batch": calls}, auth=(WRITE, ""), trust_env=False).raise_for_status()
    ended = run(url, "where", "ada").stdout.splitlines()[-1]
    assert ended.startswith("2 events of theirs are held: Button Clicked (not in the tracking plan). ")

    assert "Button Clicked" in run(url, "quarantine").stdout.splitlines()[1]
    listed = run(url, "quarantine", "--name", "Button Clicked").stdout.splitlines()[1:]
    numbers = [line.split()[0] for line in listed]
    explained = run(url, "quarantine", numbers[0]).stdout
    assert "'Button Clicked' is not in the tracking plan" in explained
    assert '"userId":"ada"' in explained
    refused = run(url, "quarantine", numbers[0], "--replay")
    assert (refused.exit_code, "not in the tracking plan" in refused.stdout) == (1, True)
    again = run(url, "quarantine", "--name", "Button Clicked", "--replay")
    assert (again.exit_code, again.stdout) == (1, "Button Clicked: 0 replayed, 2 still held\n")
    discarded = run(url, "quarantine", "--name", "Button Clicked", "--discard")
    assert (discarded.exit_code, discarded.stdout.count("is discarded")) == (0, 2)
    assert run(url, "quarantine").stdout == "nothing is held\n"
    assert "held" not in run(url, "where", "ada").stdout.splitlines()[-1]
    assert run(url, "quarantine", "--replay").exit_code == 2
    assert run(url, "quarantine", key=WRITE).exit_code == 1


def test_where_fails_for_an_unknown_user(url):
    result = run(url, "where", "nobody")
    assert result.exit_code == 1
    assert "No event has named this user yet" in result.stderr


def test_items_follows_pages_to_the_end_or_to_the_limit(url, api):
    calls = [
        {"type": "track", "messageId": str(n), "userId": "ada", "event": "Feature Used", "properties": {"feature": "x"}}
        for n in range(130)
    ]
    for part in (calls[:100], calls[100:]):
        httpx.post(f"{url}/v1/batch", json={"batch": part}, auth=(WRITE, ""), trust_env=False).raise_for_status()
    assert len(list(api.items("/v1/users/ada/timeline"))) == 130
    assert len(list(api.items("/v1/users/ada/timeline", 110))) == 110


async def test_P4_the_tasks_command_lists_shows_and_closes_tasks(url, database_url):
    database = Database(database_url)
    async with database.transaction() as connection:
        for number, owner in ((1, "dana"), (2, "erin")):
            await connection.execute(
                """INSERT INTO tasks (key, run, subject_key, journey, action, task, reason, owner, opened_at, due_at, data)
                   VALUES ($1, 'r', 'u_1', 'j', 'renewal-call', 'renewal-call', 'renewal-call', $2, now(),
                           now() - interval '1 hour', '{"value": 7}')""",
                str(number),
                owner,
            )  # fmt: skip
    await database.close()
    listed = await asyncio.to_thread(run, url, "tasks", "--owner", "dana", "--overdue")
    assert [line.split()[:2] for line in listed.stdout.splitlines()[1:]] == [["1", "renewal-call"]]
    assert " late " in listed.stdout
    looked = await asyncio.to_thread(run, url, "tasks", 1)
    assert "outcomes: agreed, at_risk, no_answer" in looked.stdout
    assert "value: 7" in looked.stdout
    refused = await asyncio.to_thread(run, url, "tasks", 1, "--close", "perhaps", "--by", "dana")
    assert (refused.exit_code, "This kind of task has no such outcome" in refused.stderr) == (1, True)
    assert "must be one of agreed" in refused.stderr
    closed = await asyncio.to_thread(run, url, "tasks", 1, "--close", "agreed", "--by", "dana", "--note", "for a year")
    assert closed.exit_code == 0, closed.output
    assert "closed: agreed" in closed.stdout
    assert "dana via operator  closed  agreed: for a year" in closed.stdout
    left = await asyncio.to_thread(run, url, "tasks")
    assert [line.split()[0] for line in left.stdout.splitlines()] == ["task", "2"]


ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\r\nuser forged: none"


def test_no_command_lets_a_strangers_text_control_the_terminal(api, url):
    publish_shipped(api, CATALOG)
    anonymous = {"anonymousId": "eve", "traits": {"first_name": ESCAPES, "email": "eve@example.com"}}
    ticket = {"ticket_id": ESCAPES, "priority": "urgent", "subject": ESCAPES}
    api.post("/v1/identify", anonymous)
    api.post("/v1/track", {"anonymousId": "eve", "event": "ticket_opened", "properties": ticket})
    for shown in (run(url, "where", "eve"), run(url, "where", "\x1b[31mnobody"), run(url, "tasks")):
        text = shown.output
        assert not set("\x1b\x07\x9b\u202e\r") & set(text)
        assert "\nuser forged" not in text
    assert "\\x1b]0;owned\\x07" in run(url, "where", "eve").output


def test_texts_of_several_lines_and_other_scripts_stay_as_they_are():
    text = "Grüße, 漢字 👩‍👩‍👧\n\tsecond line"
    assert harmless({"a": [text, 1, None]}) == {"a": [text, 1, None]}
    assert one_line_of(text) == "Grüße, 漢字 👩‍👩‍👧\\n\\tsecond line"


def test_the_keys_command_makes_lists_rotates_and_revokes_a_key(url, api):
    empty = run(url, "keys")
    assert empty.stdout == "no keys except those in the settings\n"
    made = run(url, "keys", "--make", "website", "--kind", "public")
    assert made.exit_code == 0, made.output
    (row,) = api.items("/v1/keys")
    assert (row["name"], row["kind"], row["source"]) == ("website", "public", "website")
    secret = secret_in(made.stdout)
    assert secret.startswith("tenure_pk_")
    assert "identity secret, for your server only: " in made.stdout
    with ApiClient(url, secret) as browser:
        assert browser.post("/v1/page", {"anonymousId": "v-1"}) == {"success": True}
    rotated = run(url, "keys", row["id"], "--rotate", "--overlap", "0")
    assert secret_in(rotated.stdout) != secret
    listed = run(url, "keys")
    assert listed.stdout.splitlines()[1].split()[:5] == [row["id"], "website", "public", "-", "website"]
    assert secret_in(rotated.stdout) not in listed.stdout
    assert run(url, "keys", row["id"], "--revoke").stdout == f"website ({row['id']}) is revoked\n"
    assert "revoked" in run(url, "keys").stdout


def secret_in(output: str) -> str:
    return next(line.removeprefix("secret: ") for line in output.splitlines() if line.startswith("secret: "))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--rotate",), "give --make NAME"),
        (("k_0123456789abcdef",), "give --make NAME"),
        (("k_0123456789abcdef", "--rotate", "--revoke"), "give --make NAME"),
        (("--make", "dana", "--kind", "operator"), "needs one or more `scopes`"),
        (("k_0123456789abcdef", "--revoke"), "There is no key with this id"),
    ],
)
def test_the_keys_command_says_what_is_wrong(url, arguments, reason):
    result = run(url, "keys", *arguments)
    assert result.exit_code != 0
    assert reason in " ".join(result.stderr.split()).replace("│ ", "")


def test_A1_parked_rows_are_listed_and_commands_need_a_number_or_all(url):
    assert run(url, "parked").output.strip() == "no parked rows"
    assert run(url, "parked", "--replay").exit_code == 2
    assert run(url, "parked", 7, "--replay", "--all").exit_code == 2
    refused = run(url, "parked", 7, "--replay")
    assert (refused.exit_code, "There is no parked row" in refused.output) == (1, True)
    assert run(url, "parked", "--discard", "--all").exit_code == 0
