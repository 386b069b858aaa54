"""Workers come and go: nothing is lost or doubled, whatever they had cached, and a drained one ends what it holds."""

from __future__ import annotations

import signal
import uuid
from pathlib import Path

import pytest
from temporalio.api.workflowservice.v1 import SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client
from temporalio.service import RPCError

from journeys.protocol import wire
from tests.support.live_stack import Living, until
from tests.support.worker_parts import relaying, worker, worker_process, workless

JOURNEY = """
journey: counting
entry: {on: began, again: never}
topic: onboarding
variables: {seen: int}
start: here
states:
  here:
    do: [{set: {seen: "0"}}]
    on:
      ping: {do: [{set: {seen: journey.seen + 1}}, {send: setup/first-steps, via: [in_app], name: hello}]}
      stop: over
  over: {final: done}
"""
SEEN = "SELECT min((memory->'variables'->>'seen')::int) FROM runs"


async def _begin(deps: Living, people: int) -> None:
    await deps.publish(JOURNEY)
    for n in range(people):
        await deps.accept(deps.track(f"u{n}", "began"))
    await deps.until("SELECT count(*) FROM runs WHERE state = 'here'", lambda count: count == people)


@pytest.mark.parametrize("cached", [0, 1, 100])
async def test_workers_stopped_in_the_middle_lose_and_double_nothing(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, cached: int
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as deps, relaying(deps):
        async with worker(deps, max_cached_workflows=cached):
            await _begin(deps, 4)
        for _ in range(3):
            async with worker(deps, max_cached_workflows=cached):
                for n in range(4):
                    await deps.accept(*(deps.track(f"u{n}", "ping") for _ in range(5)))
        async with worker(deps, max_cached_workflows=cached):
            await deps.until(SEEN, lambda seen: seen == 15)
            for n in range(4):
                await deps.accept(deps.track(f"u{n}", "stop"))
            await deps.until("SELECT count(*) FROM runs WHERE outcome = 'done'", lambda count: count == 4)
        messages = await deps.rows("SELECT count(*) AS n, count(DISTINCT key) AS keys FROM messages")
        assert dict(messages[0]) == {"n": 60, "keys": 60}


async def test_a_worker_told_to_stop_finishes_the_step_in_hand_and_exits_with_0(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as deps:
        async with worker_process(deps) as process:
            await _begin(deps, 1)
            await deps.accept(*(deps.track("u0", "ping") for _ in range(40)))
            await deps.until(SEEN, lambda seen: seen > 0)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        stopped_at = (await deps.rows(SEEN))[0]["min"]
        rows = await deps.rows("SELECT count(*) AS n FROM messages")
        assert rows[0]["n"] == stopped_at
        async with worker(deps), relaying(deps):
            await deps.until(SEEN, lambda seen: seen == 40)


async def _make_current(client: Client, deployment: str, build: str) -> None:
    async def made() -> bool:
        request = SetWorkerDeploymentCurrentVersionRequest(
            namespace=client.namespace, deployment_name=deployment, build_id=build, identity="test"
        )
        try:
            await client.workflow_service.set_worker_deployment_current_version(request)
        except RPCError:  # its pollers are not known to every queue yet
            return False
        return True

    await until(made)


async def _build_of(client: Client, run: str) -> str:
    found = await client.get_workflow_handle(run).describe()
    return str(found.raw_description.workflow_execution_info.versioning_info.deployment_version.build_id)


async def test_a_run_stays_on_its_build_and_moves_to_the_new_one_at_continue_as_new(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    name = f"tenure-{uuid.uuid4().hex[:8]}"
    async with (
        workless(database_url, temporal_address, task_queue, tmp_path, worker_deployment=name) as deps,
        relaying(deps),
        worker(deps, build_id="one"),
    ):
        await _make_current(deps.client, name, "one")
        await _begin(deps, 1)
        run = (await deps.rows("SELECT id FROM runs"))[0]["id"]
        await until(lambda: _build_of(deps.client, run), lambda build: build == "one")
        first = (await deps.client.get_workflow_handle(run).describe()).run_id
        async with worker(deps, build_id="two"):
            await _make_current(deps.client, name, "two")

            async def nudged() -> str:
                await deps.client.get_workflow_handle(run).signal(wire.SIGNAL_NUDGE)
                return await _build_of(deps.client, run)

            await until(nudged, lambda build: build == "two")
            assert (await deps.client.get_workflow_handle(run).describe()).run_id != first
            await deps.accept(deps.track("u0", "ping"))
            await deps.until(SEEN, lambda seen: seen == 1)
