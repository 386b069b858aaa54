"""A catalogue is published whole, as one version, or refused with every problem of every file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from journeys.decision.compiler import artifact_of, load_chart
from journeys.events.tracking_plan import read_plan
from journeys.language.parsing import read_journey
from store.database import Database
from store.definitions.publishing import publish_definition
from tests.support.api import CATALOG
from worker.catalogue.folder import read_folder

PATH = "/v1/catalogue"
JOURNEY = "journeys/setup-and-activation.yaml"
TEMPLATE = "templates/setup/first-steps.md"


@pytest.fixture
def files() -> dict[str, str]:
    return {path: content.decode() for path, content in read_folder(CATALOG).items()}


async def put(api: httpx.AsyncClient, files: dict[str, str], **more: Any) -> httpx.Response:
    return await api.put(PATH, json={"files": files, **more}, params={"by": "dana"})


async def test_journeys_templates_policy_and_plan_are_one_version(
    api: httpx.AsyncClient, files: dict[str, str]
) -> None:
    assert (await api.get(PATH)).status_code == 404
    first, again = await put(api, files), await put(api, files)
    assert [(a.status_code, a.json()["number"], a.json()["created"]) for a in (first, again)] == [
        (201, 1, True),
        (200, 1, False),
    ]
    assert first.headers["etag"] == again.headers["etag"] == (await api.get(PATH)).headers["etag"]
    assert first.json()["journeys"] == {Path(path).stem: 1 for path in files if path.startswith("journeys/")}
    changed = await put(api, {**files, TEMPLATE: files[TEMPLATE] + "\nOne more line.\n"})
    assert (changed.json()["number"], changed.json()["journeys"]) == (2, first.json()["journeys"])
    listed = (await api.get(f"{PATH}/versions")).json()["items"]
    assert [(version["number"], version["published_by"]) for version in listed] == [
        (2, "dana via operator"),
        (1, "dana via operator"),
    ]


@pytest.mark.parametrize(
    ("change", "file", "text"),
    [
        ({TEMPLATE: "no front matter"}, TEMPLATE, ""),
        ({JOURNEY: "journey: [", "policy.yaml": "caps: 1"}, JOURNEY, ""),
        ({"journeys/../../evil.yaml": "x"}, "journeys/../../evil.yaml", "no file of a catalogue has this path"),
        ({"/etc/passwd": "x"}, "/etc/passwd", "no file of a catalogue has this path"),
        ({TEMPLATE: None}, "templates/setup/first-steps.de.md", ""),
        ({"policy.yaml": None}, "policy.yaml", "the file is missing"),
        ({"audiences.yaml": "audiences: {lapsed: {odd: 1}}"}, "audiences.yaml", "audiences.lapsed"),
        ({"audiences.yaml": "a: ["}, "audiences.yaml", "it is not YAML"),
    ],
    ids=["template", "journey", "parent", "absolute", "missing-template", "missing-policy", "audiences", "no-yaml"],
)
async def test_a_catalogue_with_a_problem_is_refused_whole(
    api: httpx.AsyncClient, files: dict[str, str], change: dict[str, str | None], file: str, text: str
) -> None:
    sent = {path: content for path, content in {**files, **change}.items() if content is not None}
    before = [(await api.get(path)).text for path in (PATH, "/v1/journeys")]
    refused = await put(api, sent)
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:tenure:problem:invalid-catalogue")
    found = [error for error in refused.json()["errors"] if error["file"] == file]
    assert found
    assert any(text in error["detail"] for error in found)
    assert [(await api.get(path)).text for path in (PATH, "/v1/journeys")] == before


async def test_a_live_journey_is_retired_only_if_it_is_named(api: httpx.AsyncClient, files: dict[str, str]) -> None:
    await put(api, files)
    fewer = {path: text for path, text in files.items() if path != "journeys/confirm-consent.yaml"}
    refused = await put(api, fewer)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "confirm-consent")
    retired = await put(api, fewer, retire=["confirm-consent"])
    assert (retired.status_code, retired.json()["retired"]) == (201, ["confirm-consent"])
    assert (await api.get("/v1/journeys/confirm-consent")).json()["live"] is False
    back = await put(api, files)
    assert (back.status_code, (await api.get("/v1/journeys/confirm-consent")).json()["live"]) == (201, True)


async def test_a_journey_that_is_published_alone_is_in_the_next_version(
    api: httpx.AsyncClient, files: dict[str, str]
) -> None:
    number = (await put(api, files)).json()["number"]
    changed = files[JOURNEY].replace("P1D", "P2D", 1)
    alone = await api.put("/v1/journeys/setup-and-activation", content=changed)
    assert alone.status_code == 201
    assert (await api.get(PATH)).json()["number"] == number + 1
    same = await put(api, {**files, JOURNEY: changed})
    assert (same.status_code, same.json()["number"]) == (200, number + 1)


OLD = """
journey: greeting
subject: user
entry: {on: signed_up, again: never}
topic: onboarding
start: waiting
states:
  waiting:
    milestone: activated
    owner: lifecycle-team
    do: [{send: setup/first-steps, via: [email]}]
    on: {activated: over}
    after: {P30D: over}
  over: {final: done}
"""


async def test_templates_and_signals_of_open_runs_stay(
    api: httpx.AsyncClient, db: Any, module_database_url: str, files: dict[str, str]
) -> None:
    await put(api, files)
    journey = read_journey(OLD)[0]
    assert journey is not None
    plan = read_plan(files["tracking-plan.yaml"].encode())[0]
    assert plan is not None
    artifact = artifact_of(journey, plan.types(journey))
    chart = load_chart(artifact)
    database = Database(module_database_url)
    await publish_definition(database, chart, artifact, OLD, "test")
    await database.close()
    await db.execute(
        """
        INSERT INTO runs (id, journey, definition, subject_key, epoch, lane, entered_seq, state, visit, started_at, entered_at, step)
        VALUES ('journey/greeting/u_x/-/1', 'greeting', $1, 'u_x', 1, 'u_x', 1, 'waiting', 1, now(), now(), 1)
        """,
        chart.hash,
    )
    fewer = {path: text for path, text in files.items() if path not in {TEMPLATE, JOURNEY}}
    fewer = {
        path: text for path, text in fewer.items() if "setup/first-steps" not in text and "first-steps" not in path
    }
    refused = await put(api, fewer, retire=["greeting", "setup-and-activation"])
    assert refused.status_code == 422
    needed = [error for error in refused.json()["errors"] if error["code"] == "CATALOGUE"]
    assert needed
    assert "version 1 of greeting has open runs and needs it: setup/first-steps" in needed[0]["detail"]
    await db.execute("UPDATE runs SET status = 'closed' WHERE journey = 'greeting'")
    assert (await put(api, files, retire=["greeting"])).status_code == 200
