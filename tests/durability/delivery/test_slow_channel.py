"""A channel too slow for a step has a task queue of its own, with ordinary activities."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType

from activities.dependencies import CurrentDependencies
from journeys.protocol import wire
from tests.support.live_stack import LiveStack, live_stack
from tests.support.worker_parts import running_relay, stack_without_workers, worker
from worker.composition import worker as composition
from worker.composition.dependencies import dependencies
from worker.settings import ROOT
from worker.stack.mail_sink import MailFaults

JOURNEY = """
journey: slow
entry: {on: signed_up}
goal: {on: activated}
topic: onboarding
start: waiting
states:
  waiting:
    on:
      setup_completed: {do: [{send: education/first-value, via: [email]}]}
      invited: {do: [{send: setup/checklist, via: [email]}]}
"""
APART = """
consent: [{default: granted}]
cooldowns: [{name: apart, channel: email, between: PT5S}]
"""
SLOW = MailFaults(delay_seconds=3)


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """The shipped templates, and a policy that keeps mails five seconds apart."""
    folder = tmp_path / "catalog"
    shutil.copytree(ROOT / "catalog", folder)
    (folder / "policy.yaml").write_text(APART)
    (folder / "consent.yaml").unlink(missing_ok=True)  # it belongs to the shipped policy
    return folder


async def test_steps_of_a_slow_channel_are_ordinary_activities_on_its_queue(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path, near=False) as stack:
        await _begun(stack)
        await stack.accept(stack.track("ada", "setup_completed"))
        await stack.until("SELECT count(*) FROM messages WHERE status = 'sent'")
        assert await _queues(stack, await _run(stack)) == [wire.channel_queue(task_queue, "email")]
        assert stack.mail.count() == 1


async def test_a_deferred_message_of_a_slow_channel_is_sent_on_its_queue_in_one_attempt(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> None:
    far: dict[str, Any] = {"near": False, "faults": SLOW, "catalog": catalog}
    async with live_stack(database_url, temporal_address, task_queue, tmp_path, **far) as stack:
        await _begun(stack)
        await stack.accept(stack.track("ada", "setup_completed"), stack.track("ada", "invited"))
        await stack.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 2)
        messages = await stack.rows("SELECT attempts, recipient FROM messages")
        assert [row["attempts"] for row in messages] == [1, 1]
        queues = await _queues(stack, wire.outreach_id(messages[0]["recipient"]))
        assert set(queues) == {wire.channel_queue(task_queue, "email")}
        assert stack.mail.count() == 2


async def test_a_run_started_with_a_slow_channel_continues_after_it_became_fast(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with (
        stack_without_workers(database_url, temporal_address, task_queue, tmp_path, smtp_near=False) as stack,
        running_relay(stack),
    ):
        async with worker(stack):
            await _begun(stack)
            await stack.until("SELECT count(*) FROM runs WHERE step >= 1")
        stack.settings = stack.settings.model_copy(update={"smtp_near": True})
        stack.deps = dependencies(stack.settings, stack.database)
        async with worker(stack), channel_queues(stack):
            await stack.accept(stack.track("ada", "setup_completed"))
            await stack.until("SELECT count(*) FROM messages WHERE status = 'sent'")
            assert await _queues(stack, await _run(stack)) == [wire.channel_queue(task_queue, "email")]


async def test_A3_a_run_started_with_a_slow_channel_goes_on_after_its_provider_is_taken_away(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    """Its steps still go to the queue of that channel, which a worker polls all the same."""
    async with (
        stack_without_workers(database_url, temporal_address, task_queue, tmp_path, smtp_near=False) as stack,
        running_relay(stack),
    ):
        async with worker(stack):
            await _begun(stack)
            await stack.until("SELECT count(*) FROM runs WHERE step >= 1")
        remaining = {name: channel for name, channel in stack.deps.channels.items() if name != "email"}
        stack.deps = replace(stack.deps, channels=remaining)
        async with worker(stack), channel_queues(stack):
            await stack.accept(stack.track("ada", "setup_completed"))
            reasons = await stack.until("SELECT reasons::text FROM messages WHERE status = 'withheld'")
            assert "no provider is configured for email" in reasons


@contextlib.asynccontextmanager
async def channel_queues(stack: LiveStack) -> AsyncIterator[None]:
    """Poll the queues of all channels, as a worker process does."""
    async with contextlib.AsyncExitStack() as running:
        for channel_worker in composition.channel_workers(
            stack.client, stack.settings, CurrentDependencies(stack.deps)
        ):
            await running.enter_async_context(channel_worker)
        yield


async def _begun(stack: LiveStack) -> None:
    await stack.publish(JOURNEY)
    await stack.accept(stack.identify("ada", email="ada@example.com"), stack.track("ada", "signed_up"))


async def _run(stack: LiveStack) -> str:
    return str((await stack.rows("SELECT id FROM runs"))[0]["id"])


async def _queues(stack: LiveStack, workflow: str) -> list[str]:
    """The queues of a workflow's ordinary activities, in order."""
    history = await stack.client.get_workflow_handle(workflow).fetch_history()
    scheduled = [e for e in history.events if e.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED]
    return [e.activity_task_scheduled_event_attributes.task_queue.name for e in scheduled]
