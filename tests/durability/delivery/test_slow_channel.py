"""A channel too slow for a step has a queue of its own: what goes by it is an ordinary activity there, and never both."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType

from journeys.protocol import wire
from tests.support.live_stack import Living, living
from tests.support.worker_parts import relaying, worker, workless
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
    (folder / "consent.yaml").unlink(missing_ok=True)  # it speaks of the shipped policy
    return folder


async def test_its_steps_are_ordinary_activities_on_its_queue(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with living(database_url, temporal_address, task_queue, tmp_path, near=False) as deps:
        await _begun(deps)
        await deps.accept(deps.track("ada", "setup_completed"))
        await deps.until("SELECT count(*) FROM messages WHERE status = 'sent'")
        assert await _queues(deps, await _run(deps)) == [wire.channel_queue(task_queue, "email")]
        assert deps.mail.count() == 1


async def test_what_waited_for_its_time_is_handed_over_on_its_queue_too_and_a_slow_relay_takes_it_at_once(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> None:
    far: dict[str, Any] = {"near": False, "faults": SLOW, "catalog": catalog}
    async with living(database_url, temporal_address, task_queue, tmp_path, **far) as deps:
        await _begun(deps)
        await deps.accept(deps.track("ada", "setup_completed"), deps.track("ada", "invited"))
        await deps.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 2)
        found = await deps.rows("SELECT attempts, recipient FROM messages")
        assert [row["attempts"] for row in found] == [1, 1]
        queues = await _queues(deps, wire.outreach_id(found[0]["recipient"]))
        assert set(queues) == {wire.channel_queue(task_queue, "email")}
        assert deps.mail.count() == 2


async def test_a_run_that_began_when_its_channel_was_slow_goes_on_when_it_is_quick(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with (
        workless(database_url, temporal_address, task_queue, tmp_path, smtp_near=False) as deps,
        relaying(deps),
    ):
        async with worker(deps):
            await _begun(deps)
            await deps.until("SELECT count(*) FROM runs WHERE step >= 1")
        deps.settings = deps.settings.model_copy(update={"smtp_near": True})
        deps.deps = dependencies(deps.settings, deps.database)
        (mails,) = composition.channel_workers(deps.client, deps.settings, deps.deps)
        async with worker(deps), mails:
            await deps.accept(deps.track("ada", "setup_completed"))
            await deps.until("SELECT count(*) FROM messages WHERE status = 'sent'")
            assert await _queues(deps, await _run(deps)) == [wire.channel_queue(task_queue, "email")]


async def _begun(deps: Living) -> None:
    await deps.publish(JOURNEY)
    await deps.accept(deps.identify("ada", email="ada@example.com"), deps.track("ada", "signed_up"))


async def _run(deps: Living) -> str:
    return str((await deps.rows("SELECT id FROM runs"))[0]["id"])


async def _queues(deps: Living, workflow: str) -> list[str]:
    """The queues of a workflow's ordinary activities, in order."""
    history = await deps.client.get_workflow_handle(workflow).fetch_history()
    scheduled = [e for e in history.events if e.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED]
    return [e.activity_task_scheduled_event_attributes.task_queue.name for e in scheduled]
