"""An operator's hand on a real run: the API, a real worker and a real Temporal server."""

import asyncio
from functools import partial
from urllib.parse import quote

import pytest_asyncio

from api.runs.temporal import TemporalRunCommands
from tests.support.api import CATALOG, application, client
from tests.support.live_stack import living, until
from worker.composition.clients import connect_temporal
from worker.settings import Settings

KEY = "setup-and-activation"


@pytest_asyncio.fixture(scope="module")
async def deps(module_database_url, temporal_address, tmp_path_factory):
    """The API beside a working worker."""
    queue = f"live-{tmp_path_factory.getbasetemp().name}"
    folder = tmp_path_factory.mktemp("live")
    settings = Settings(temporal_address=temporal_address)
    engine = TemporalRunCommands(partial(connect_temporal, settings))
    live = living(module_database_url, temporal_address, queue, folder)
    async with live as living_house, client(application(module_database_url, engine=engine)) as api:
        source = (CATALOG / "journeys" / f"{KEY}.yaml").read_bytes()
        assert (await api.put(f"/v1/journeys/{KEY}", content=source)).status_code == 201
        yield api, living_house


async def entered(api, user: str) -> str:
    """The path of a run that has decided its first step."""
    await api.post(f"/v1/users/{user}/signals", json={"name": "signed_up"})
    (run,) = (await api.get(f"/v1/users/{user}/journeys")).json()["items"]
    path = f"/v1/runs/{quote(run['id'], safe='')}"

    async def state():
        return (await api.get(path)).json()["state"]

    await until(state)
    return path


async def test_a_consistent_read_is_the_workflows_own_state(deps):
    api, _ = deps
    path = await entered(api, "consistent")
    found = (await api.get(path, params={"consistent": "true"})).json()
    assert found["live"]["state"]["state"] == found["state"]
    assert found["live"]["run"] == found["id"]
    lines = (await api.get(f"{path}/explain")).json()["lines"]
    assert any(found["state"] in line for line in lines)
    assert (await api.get(f"{path}/timeline")).json()["items"]


async def test_a_run_is_paused_resumed_and_cancelled_once_each(deps):
    api, _ = deps
    path = await entered(api, "commanded")
    by = {"by": "dana"}
    assert (await api.post(f"{path}/resume", json=by)).status_code == 409
    assert (await api.post(f"{path}/pause", json=by)).json()["paused"] is True
    again = await api.post(f"{path}/pause", json=by)
    assert (again.status_code, again.json()["type"]) == (409, "urn:tenure:problem:conflict")
    assert (await api.post(f"{path}/resume", json={**by, "mode": "catch_up"})).json()["paused"] is False
    ended = await api.post(f"{path}/cancel", json={**by, "reason": "opened by mistake"})
    assert (ended.status_code, ended.json()["status"]) == (200, "closed")
    assert (await api.post(f"{path}/pause", json=by)).status_code == 409
    told = (await api.get(f"{path}/timeline", params={"limit": 100})).json()["items"]
    assert any("opened by mistake" in line["text"] for line in told)


async def test_a_no_to_everything_ends_the_run_itself(deps):
    api, _ = deps
    path = await entered(api, "opted-out")
    said = {"channel": "*", "topic": "*", "granted": False, "source": "test"}
    assert (await api.put("/v1/users/opted-out/consents", json=said)).json()["ended_runs"] == 1

    async def status():
        return (await api.get(path)).json()["status"]

    await until(status, lambda found: found == "closed")


async def test_a_run_that_temporal_does_not_know_is_a_conflict_and_a_deaf_engine_says_later(deps, module_database_url):
    api, living_house = deps
    await living_house.rows(
        "INSERT INTO runs (id, journey, definition, subject_key, epoch, lane, entered_seq, started_at) "
        "VALUES ('journey/x/u_9/-/1', 'x', 'x', 'u_9', 1, 'u_9', 1, now()) RETURNING id"
    )
    unknown = await api.post("/v1/runs/journey%2Fx%2Fu_9%2F-%2F1/pause", json={"by": "dana"})
    assert unknown.status_code == 409
    deaf = TemporalRunCommands(partial(connect_temporal, Settings(temporal_address="127.0.0.1:1")))
    async with client(application(module_database_url, engine=deaf)) as other:
        asked = await other.get("/v1/runs/journey%2Fx%2Fu_9%2F-%2F1", params={"consistent": "true"})
        assert (asked.status_code, asked.json()["type"]) == (503, "urn:tenure:problem:engine-unavailable")
        checks = (await other.get("/readyz")).json()["checks"]
        assert checks["temporal"]["status"] == "degraded"


async def test_a_signal_moves_a_run_and_its_state_can_be_read(deps):
    api, _ = deps
    path = await entered(api, "mover")
    before = (await api.get(path)).json()
    await api.post("/v1/users/mover/signals", json={"name": "setup_completed"})

    async def state():
        await asyncio.sleep(0)
        return (await api.get(path)).json()["state"]

    await until(state, lambda found: found != before["state"])
