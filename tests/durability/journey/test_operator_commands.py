"""Operator commands: updates with validators, answered when they are decided, and queries."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError, WorkflowUpdateStage

from journeys.protocol import wire
from store.database import fetch_all, sql
from tests.support.live_stack import LiveStack, live_stack
from tests.support.worker_parts import running_relay, stack_without_workers, worker
from worker.settings import ROOT
from worker.testing.rehearsal import Rehearsal

JOURNEY = """
journey: operated
entry: {on: signed_up, again: never}
goal: {on: activated, within: P90D}
topic: onboarding
start: here
states:
  here:
    on: {setup_completed: there}
    after: {P10D: {do: [{send: setup/checklist, via: [in_app]}]}}
  there: {final: done}
"""


@pytest_asyncio.fixture
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path) as stack:
        yield stack


async def _begun(stack: LiveStack) -> WorkflowHandle[Any, Any]:
    await stack.publish(JOURNEY)
    await stack.accept(stack.track("ada", "signed_up"))
    return stack.client.get_workflow_handle(await stack.until("SELECT id FROM runs WHERE state = 'here'"))


async def test_pause_resume_and_cancel_return_the_status_of_the_run(stack: LiveStack) -> None:
    handle = await _begun(stack)
    assert await handle.execute_update(wire.UPDATE_PAUSE, {"by": "olga"}) == "paused"
    assert await handle.execute_update(wire.UPDATE_RESUME, {"by": "olga", "mode": "shift"}) == "running"
    assert await handle.execute_update(wire.UPDATE_CANCEL, {"by": "olga", "reason": "moved"}) == "cancelled"
    assert await stack.until("SELECT outcome FROM runs") == "cancelled"
    lines = [row["text"] for row in await stack.rows("SELECT text FROM timeline ORDER BY step, n")]
    assert "cancelled by olga: moved" in lines


REFUSED: list[tuple[str, Any, str]] = [
    (wire.UPDATE_RESUME, {"by": "olga"}, "it is not paused"),
    (wire.UPDATE_PAUSE, {"at": "yesterday"}, "isoformat"),
    (wire.UPDATE_CANCEL, {"at": 7}, ""),
    (wire.UPDATE_PAUSE, "not an object", ""),
]


@pytest.mark.parametrize(("update", "request_", "why"), REFUSED)
async def test_an_invalid_command_is_refused_and_adds_nothing_to_the_history(
    stack: LiveStack, update: str, request_: Any, why: str
) -> None:
    handle = await _begun(stack)
    await handle.query(wire.QUERY_STATE)
    before = (await handle.describe()).history_length
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await handle.execute_update(update, request_)
    assert why in str(refused.value.cause)
    assert (await handle.describe()).history_length == before
    assert await handle.execute_update(wire.UPDATE_PAUSE, {"by": "olga"}) == "paused"
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update(wire.UPDATE_RESUME, {"mode": "someday"})


async def test_a_cancel_is_answered_although_it_ends_the_run(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path) as stack:
        handle = await _begun(stack)
        first = await handle.start_update(wire.UPDATE_CANCEL, {"by": "olga"}, wait_for_stage=_accepted())
        answers = [await first.result()]
        assert answers == ["cancelled"]
        assert await handle.result() == "cancelled"


def _accepted() -> Any:
    return WorkflowUpdateStage.ACCEPTED


async def test_a_cancel_does_not_overtake_an_event_accepted_before_it(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack:
        async with worker(stack):
            async with running_relay(stack):
                handle = await _begun(stack)
            await stack.accept(stack.track("ada", "setup_completed"))  # accepted, and not delivered without a relay
            assert await handle.execute_update(wire.UPDATE_CANCEL, {"by": "olga"}) == "done"
        assert await stack.until("SELECT outcome FROM runs") == "done"


async def test_queries_return_the_state_and_explain_what_the_run_waits_for(stack: LiveStack) -> None:
    handle = await _begun(stack)
    shown = await handle.query(wire.QUERY_STATE)
    assert (shown["run"], shown["state"]["state"], shown["inbox"]) == (handle.id, "here", 0)
    sentences = await handle.query(wire.QUERY_EXPLAIN)
    assert any("P10D" in sentence or "setup_completed" in sentence for sentence in sentences)


@pytest.mark.parametrize(("mode", "days"), [("shift", 9), ("catch_up", 0), ("expire", None)])
async def test_resume_shifts_catches_up_or_expires_the_timers_of_a_paused_run(
    stage: Rehearsal, mode: str, days: int | None
) -> None:
    await stage.publish(JOURNEY, checked=False)
    await stage.signal("ada", "signed_up")
    await stage.forward(days=1)
    (run,) = await stage.runs()
    handle = stage.client.get_workflow_handle(run["id"])
    await handle.execute_update(wire.UPDATE_PAUSE, {"by": "olga"})
    await stage.forward(days=30)
    assert await stage.sent() == []
    await handle.execute_update(wire.UPDATE_RESUME, {"by": "olga", "mode": mode})
    await stage.settle()
    resumed = stage.now
    await stage.forward(days=20)
    sent = await stage.messages()
    assert len(sent) == (0 if days is None else 1)
    if days is not None:
        assert abs(sent[0]["sent_at"] - resumed - timedelta(days=days)) < timedelta(minutes=1)


MANY = """
journey: many
entry: {on: signed_up, again: never}
topic: onboarding
start: here
states:
  here: {on: {setup_completed: there}}
  there: {every: {PT0.02S: {times: 250, do: {send: setup/checklist, via: [in_app]}}}}
"""


async def test_A4_a_run_that_catches_up_sends_hundreds_in_steps_of_a_hundred(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    catalog = shutil.copytree(ROOT / "catalog", tmp_path / "catalog")
    (catalog / "policy.yaml").write_text("consent: [{default: granted}]\n")
    (catalog / "consent.yaml").unlink()  # it belongs to the shipped policy
    async with live_stack(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as stack:
        await stack.publish(MANY)
        await stack.accept(stack.track("ada", "signed_up"))
        handle = stack.client.get_workflow_handle(await stack.until("SELECT id FROM runs WHERE state = 'here'"))
        await handle.execute_update(wire.UPDATE_PAUSE, {"by": "olga"})
        await stack.accept(stack.track("ada", "setup_completed"))
        last = "SELECT clock_timestamp() > last_at + interval '5 seconds' FROM runs WHERE state = 'there'"
        await stack.until(last, bool)
        assert await handle.execute_update(wire.UPDATE_RESUME, {"by": "olga", "mode": "catch_up"}) == "running"
        await stack.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda sent: sent == 250)
        steps = await stack.rows("SELECT count(*) AS messages FROM messages GROUP BY step ORDER BY step")
    assert [row["messages"] for row in steps] == [100, 100, 50]


BEATS = """
journey: beating
entry: {on: signed_up, again: never}
topic: onboarding
start: here
states:
  here: {every: {PT1H: {times: 250, do: {emit: activated}}}}
"""


async def test_A4_on_a_test_clock_that_stands_a_run_resumes_to_its_last_slice(stage: Rehearsal) -> None:
    await stage.publish(BEATS, checked=False)
    await stage.signal("ada", "signed_up")
    (run,) = await stage.runs()
    handle = stage.client.get_workflow_handle(run["id"])
    await handle.execute_update(wire.UPDATE_PAUSE, {"by": "olga"})
    await stage.forward(days=30)
    await handle.execute_update(wire.UPDATE_RESUME, {"by": "olga", "mode": "catch_up"})
    await stage.settle()
    async with stage.database.reading() as connection:
        (row,) = await fetch_all(connection, sql("SELECT count(*) AS beats FROM events WHERE name = 'activated'"))
    assert row["beats"] == 250
    shown = await handle.query(wire.QUERY_STATE)
    assert "held" not in shown["state"]
    assert shown["step"] >= 5, "entered, paused, and three slices"
