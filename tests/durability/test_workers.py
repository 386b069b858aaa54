"""Stopped and replaced workers lose and double nothing, and finish the step in hand."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from functools import partial
from pathlib import Path

import pytest
from temporalio.api.workflowservice.v1 import SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.service import RPCError

from journeys.protocol import wire
from tests.support.live_stack import LiveStack, until
from tests.support.worker_parts import running_relay, stack_without_workers, worker, worker_process
from worker.probe import is_answered
from worker.settings import ROOT
from worker.stack.components import http_ok
from worker.stack.free_ports import free_ports

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


async def _begin(stack: LiveStack, people: int) -> None:
    await stack.publish(JOURNEY)
    for n in range(people):
        await stack.accept(stack.track(f"u{n}", "began"))
    await stack.until("SELECT count(*) FROM runs WHERE state = 'here'", lambda count: count == people)


@pytest.mark.parametrize("cached", [0, 1, 100])
async def test_workers_stopped_in_the_middle_lose_and_double_no_message(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, cached: int
) -> None:
    async with (
        stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack,
        running_relay(stack),
    ):
        async with worker(stack, max_cached_workflows=cached):
            await _begin(stack, 4)
        for _ in range(3):
            async with worker(stack, max_cached_workflows=cached):
                for n in range(4):
                    await stack.accept(*(stack.track(f"u{n}", "ping") for _ in range(5)))
        async with worker(stack, max_cached_workflows=cached):
            await stack.until(SEEN, lambda seen: seen == 15)
            for n in range(4):
                await stack.accept(stack.track(f"u{n}", "stop"))
            await stack.until("SELECT count(*) FROM runs WHERE outcome = 'done'", lambda count: count == 4)
        messages = await stack.rows("SELECT count(*) AS n, count(DISTINCT key) AS keys FROM messages")
        assert dict(messages[0]) == {"n": 60, "keys": 60}


async def test_a_worker_finishes_the_step_in_hand_on_sigterm_and_exits_with_0(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack:
        # Not a fork: the interpreter's own end with an open client is part of the exit.
        environ = {**os.environ, **stack.settings.environ(worker_port=0)}
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "worker", cwd=ROOT, env=environ)
        try:
            await _begin(stack, 1)
            await stack.accept(*(stack.track("u0", "ping") for _ in range(40)))
            await stack.until(SEEN, lambda seen: seen > 0)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 60) == 0
        finally:
            if process.returncode is None:
                process.kill()
        stopped_at = (await stack.rows(SEEN))[0]["min"]
        rows = await stack.rows("SELECT count(*) AS n FROM messages")
        assert rows[0]["n"] == stopped_at
        async with worker(stack), running_relay(stack):
            await stack.until(SEEN, lambda seen: seen == 40)


async def test_a_worker_process_is_ready_only_when_a_probe_workflow_has_been_answered(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack:
        probed = partial(is_answered, stack.client, task_queue, seconds=0.5)
        assert not await probed(), "nobody polls the queue yet"
        port = free_ports(1)[0]
        async with worker_process(stack, TENURE_WORKER_PORT=str(port)):
            await until(lambda: http_ok(f"http://127.0.0.1:{port}/readyz"), timeout=60)
            probes = [
                probe async for probe in stack.client.list_workflows(f"TaskQueue = '{task_queue}'") if probe.close_time
            ]
            assert probes, "ready means that a probe has ended"


async def _make_current(client: Client, deployment: str, build: str) -> None:
    async def made() -> bool:
        request = SetWorkerDeploymentCurrentVersionRequest(
            namespace=client.namespace, deployment_name=deployment, build_id=build, identity="test"
        )
        try:
            await client.workflow_service.set_worker_deployment_current_version(request)
        except RPCError:  # not every queue has its pollers yet
            return False
        return True

    await until(made)


async def _build_of(client: Client, run: str) -> str:
    description = await client.get_workflow_handle(run).describe()
    return str(description.raw_description.workflow_execution_info.versioning_info.deployment_version.build_id)


async def test_a_run_stays_on_its_build_and_moves_to_the_new_one_at_continue_as_new(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    name = f"tenure-{uuid.uuid4().hex[:8]}"
    async with (
        stack_without_workers(database_url, temporal_address, task_queue, tmp_path, worker_deployment=name) as stack,
        running_relay(stack),
        worker(stack, build_id="one"),
    ):
        await _make_current(stack.client, name, "one")
        await _begin(stack, 1)
        run = (await stack.rows("SELECT id FROM runs"))[0]["id"]
        await until(lambda: _build_of(stack.client, run), lambda build: build == "one")
        first = (await stack.client.get_workflow_handle(run).describe()).run_id
        async with worker(stack, build_id="two"):
            probed = partial(is_answered, stack.client, task_queue, build=WorkerDeploymentVersion(name, "two"))
            assert await until(probed), "a build answers its probe before it is made current"
            await _make_current(stack.client, name, "two")

            async def nudged() -> str:
                await stack.client.get_workflow_handle(run).signal(wire.SIGNAL_NUDGE)
                return await _build_of(stack.client, run)

            await until(nudged, lambda build: build == "two")
            assert (await stack.client.get_workflow_handle(run).describe()).run_id != first
            await stack.accept(stack.track("u0", "ping"))
            await stack.until(SEEN, lambda seen: seen == 1)
