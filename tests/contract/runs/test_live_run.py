"""Operator commands and consistent reads: the API with a real worker and a real Temporal server."""

import asyncio
from functools import partial
from urllib.parse import quote

import pytest_asyncio

from api.runs.temporal import TemporalRunCommands
from tests.support.api import CATALOG, application, client
from tests.support.live_stack import live_stack, until
from worker.composition.clients import connect_temporal
from worker.probe import is_answered
from worker.settings import Settings

KEY = "setup-and-activation"


@pytest_asyncio.fixture(scope="module")
async def api_and_stack(module_database_url, temporal_address, tmp_path_factory):
    """The API beside a working worker."""
    queue = f"live-{tmp_path_factory.getbasetemp().name}"
    folder = tmp_path_factory.mktemp("live")
    settings = Settings(temporal_address=temporal_address)
    engine = TemporalRunCommands(partial(connect_temporal, settings), partial(is_answered, task_queue=queue))
    live = live_stack(module_database_url, temporal_address, queue, folder)
    async with live as stack, client(application(module_database_url, engine=engine)) as api:
        source = (CATALOG / "journeys" / f"{KEY}.yaml").read_bytes()
        assert (await api.put(f"/v1/journeys/{KEY}", content=source)).status_code == 201
        yield api, stack


async def entered(api, user: str) -> str:
    """Open a run and wait for its first step; the path of the run."""
    await api.post(f"/v1/users/{user}/signals", json={"name": "signed_up"})
    (run,) = (await api.get(f"/v1/users/{user}/journeys")).json()["items"]
    path = f"/v1/runs/{quote(run['id'], safe='')}"

    async def state():
        return (await api.get(path)).json()["state"]

    await until(state)
    return path


async def test_a_consistent_read_returns_the_state_of_the_workflow(api_and_stack):
    api, _ = api_and_stack
    path = await entered(api, "consistent")
    answer = (await api.get(path, params={"consistent": "true"})).json()
    assert answer["live"]["state"]["state"] == answer["state"]
    assert answer["live"]["run"] == answer["id"]
    lines = (await api.get(f"{path}/explain")).json()["lines"]
    assert any(answer["state"] in line for line in lines)
    assert (await api.get(f"{path}/timeline")).json()["items"]


async def test_a_run_is_paused_resumed_and_cancelled_once_each(api_and_stack):
    api, _ = api_and_stack
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
    lines = (await api.get(f"{path}/timeline", params={"limit": 100})).json()["items"]
    assert any("opened by mistake" in line["text"] for line in lines)


async def test_an_opt_out_from_everything_closes_the_run(api_and_stack):
    api, _ = api_and_stack
    path = await entered(api, "opted-out")
    opt_out = {"channel": "*", "topic": "*", "granted": False, "source": "test"}
    assert (await api.put("/v1/users/opted-out/consents", json=opt_out)).json()["ended_runs"] == 1

    async def status():
        return (await api.get(path)).json()["status"]

    await until(status, lambda status: status == "closed")


async def test_a_run_unknown_to_temporal_gets_409_and_an_unreachable_temporal_503(api_and_stack, module_database_url):
    api, stack = api_and_stack
    await stack.rows(
        "INSERT INTO runs (id, journey, definition, subject_key, epoch, lane, entered_seq, started_at) "
        "VALUES ('journey/x/u_9/-/1', 'x', 'x', 'u_9', 1, 'u_9', 1, now()) RETURNING id"
    )
    unknown = await api.post("/v1/runs/journey%2Fx%2Fu_9%2F-%2F1/pause", json={"by": "dana"})
    assert unknown.status_code == 409
    unreachable = TemporalRunCommands(
        partial(connect_temporal, Settings(temporal_address="127.0.0.1:1")), partial(is_answered, task_queue="none")
    )
    async with client(application(module_database_url, engine=unreachable)) as other:
        answer = await other.get("/v1/runs/journey%2Fx%2Fu_9%2F-%2F1", params={"consistent": "true"})
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:tenure:problem:engine-unavailable")
        checks = (await other.get("/readyz")).json()["checks"]
        assert checks["temporal"]["status"] == "degraded"


async def test_readiness_is_ok_once_a_worker_has_answered_a_probe_workflow(api_and_stack, module_database_url):
    api, stack = api_and_stack
    assert (await api.get("/readyz")).json()["checks"]["temporal"]["status"] == "ok"
    connect = partial(connect_temporal, stack.settings)
    nobody_polls = TemporalRunCommands(connect, partial(is_answered, task_queue="nobody-polls", seconds=0.5))
    async with client(application(module_database_url, engine=nobody_polls)) as other:
        ready = await other.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["temporal"]["status"]) == (503, "failing")


async def test_a_signal_moves_a_run_to_another_state(api_and_stack):
    api, _ = api_and_stack
    path = await entered(api, "mover")
    before = (await api.get(path)).json()
    await api.post("/v1/users/mover/signals", json={"name": "setup_completed"})

    async def state():
        await asyncio.sleep(0)
        return (await api.get(path)).json()["state"]

    await until(state, lambda current: current != before["state"])
