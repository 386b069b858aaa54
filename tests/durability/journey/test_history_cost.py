"""How many events each kind of step adds to a history: the cost of replaying it for a cold signal."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType

from tests.support.skipped_time import SkippedTime
from tests.support.worker_parts import running_relay, stack_without_workers, worker

JOURNEY = """
journey: counted
entry: {on: signed_up, again: never}
topic: onboarding
start: waiting
states:
  waiting:
    on:
      setup_completed: {do: [{send: setup/first-steps, via: [email]}]}
      activated: {do: [{send: setup/checklist, via: [in_app]}]}
      account_closed: waiting
    every: {P9D: {do: [{send: setup/first-steps, via: [in_app], name: rhythm}]}}
"""
OF_THE_TEST = {"WORKFLOW_EXECUTION_OPTIONS_UPDATED", "WORKFLOW_EXECUTION_TIME_SKIPPING_TRANSITIONED"}


CAUSES = {"WORKFLOW_EXECUTION_STARTED", "WORKFLOW_EXECUTION_SIGNALED", "TIMER_FIRED", "ACTIVITY_TASK_COMPLETED"}
TASK = ["WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_COMPLETED"]


async def _events(skipped: SkippedTime) -> list[str]:
    (run,) = await skipped.runs()
    history = await skipped.client.get_workflow_handle(run["id"]).fetch_history()
    named = [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in history.events]
    return _without_queries([name for name in named if name not in OF_THE_TEST])


def _without_queries(names: list[str]) -> list[str]:
    """Without workflow tasks that only answer a query of the stage."""
    kept: list[str] = []
    for name in names:
        kept.append(name)
        if kept[-3:] == TASK and len(kept) > 3 and kept[-4] not in CAUSES:
            del kept[-3:]
    return kept


async def _begun(skipped: SkippedTime) -> int:
    await skipped.publish(JOURNEY, checked=False)
    await skipped.identify("ada", email="ada@example.com", first_name="Ada")
    await skipped.signal("ada", "signed_up")
    return len(await _events(skipped))


@pytest.mark.parametrize(("signal", "channel"), [("setup_completed", "email"), ("activated", "in_app")])
async def test_a_signal_that_sends_adds_five_events(skipped: SkippedTime, signal: str, channel: str) -> None:
    begun = await _begun(skipped)
    for _ in range(4):
        await skipped.signal("ada", signal)
        await skipped.forward(days=2)
    added = (await _events(skipped))[begun:]
    assert [message["channel"] for message in await skipped.messages()].count(channel) == 4
    assert Counter(added) == {
        "WORKFLOW_EXECUTION_SIGNALED": 4, "WORKFLOW_TASK_SCHEDULED": 4, "WORKFLOW_TASK_STARTED": 4,
        "WORKFLOW_TASK_COMPLETED": 4, "MARKER_RECORDED": 4,
    }  # fmt: skip


async def test_a_timer_that_sends_adds_six_events(skipped: SkippedTime) -> None:
    begun = await _begun(skipped)
    await skipped.forward(days=28)
    added = (await _events(skipped))[begun:]
    assert len(await skipped.messages()) == 3
    assert len(added) == 3 * 6


async def test_a_run_reaches_its_first_wait_in_one_workflow_task(skipped: SkippedTime) -> None:
    assert await _begun(skipped) <= 8


async def test_timers_that_move_later_are_not_restarted(skipped: SkippedTime) -> None:
    begun = await _begun(skipped)
    for _ in range(3):
        await skipped.forward(days=2)
        await skipped.signal("ada", "account_closed")
    added = Counter((await _events(skipped))[begun:])
    assert added["TIMER_STARTED"] == added["TIMER_CANCELED"] == 0
    assert sum(added.values()) == 15


async def test_a_burst_of_signals_is_decided_in_two_workflow_tasks(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack:
        await stack.publish(JOURNEY)
        async with running_relay(stack):
            await stack.accept(stack.track("ada", "signed_up"), *(stack.track("ada", "activated") for _ in range(40)))
            await stack.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
            async with worker(stack):
                await stack.until("SELECT count(*) FROM messages", lambda n: n == 40)
        run = (await stack.rows("SELECT id FROM runs"))[0]["id"]
        events = (await stack.client.get_workflow_handle(run).fetch_history()).events
        tasks = [event for event in events if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
        assert len(tasks) <= 2
