"""Lag changes no decision: an event accepted before a timer's due instant wins, even if it arrives later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.live_stack import LiveStack
from tests.support.worker_parts import running_relay, stack_without_workers, worker
from worker.testing.decryption import fetch_decrypted
from worker.testing.replay import replay

JOURNEY = """
journey: lagging
entry: {on: signed_up, again: never}
topic: onboarding
start: waiting
states:
  waiting:
    on: {setup_completed: helped}
    after: {PT2S: lost}
  helped: {on: {over: done}}
  lost: {on: {setup_completed: too_late}}
  done: {final: done}
  too_late: {final: too_late}
"""


async def _begun(stack: LiveStack) -> None:
    await stack.publish(JOURNEY)
    async with running_relay(stack):
        await stack.accept(stack.track("ada", "signed_up"))
        await stack.until("SELECT state FROM runs WHERE state = 'waiting'")


async def test_an_event_accepted_before_a_timer_wins_while_the_outbox_lags(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack, worker(stack):
        await _begun(stack)
        await stack.accept(stack.track("ada", "setup_completed"))
        assert await stack.until("SELECT state FROM runs WHERE state <> 'waiting'") == "helped"
        async with running_relay(stack):
            await stack.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
            await stack.accept(stack.track("ada", "over"))
            assert await stack.until("SELECT outcome FROM runs") == "done"
        visits = await stack.rows("SELECT memory->'visits' AS visits FROM runs")
        assert "lost" not in str(visits[0]["visits"])


@pytest.mark.parametrize("earlier", ["the signal", "the timer"])
async def test_a_waiting_signal_and_timer_are_decided_in_the_order_of_their_instants(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, earlier: str
) -> None:
    async with stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack:
        async with worker(stack):
            await _begun(stack)
        due = (await stack.rows("SELECT next_due_at FROM runs"))[0]["next_due_at"]
        before = due - timedelta(milliseconds=500)
        at = before if earlier == "the signal" else due + timedelta(milliseconds=500)
        await stack.until("SELECT clock_timestamp()", lambda now: now > due + timedelta(seconds=1))
        async with running_relay(stack):
            await stack.accept(stack.track("ada", "setup_completed", at))
            await stack.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
        async with worker(stack):
            wanted = "helped" if earlier == "the signal" else "too_late"
            await stack.until("SELECT state FROM runs", lambda state: state == wanted)


async def test_a_late_event_cannot_change_the_decision_of_a_timer(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with (
        stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack,
        worker(stack),
        running_relay(stack),
    ):
        await stack.publish(JOURNEY)
        await stack.accept(stack.track("ada", "signed_up"))
        await stack.until("SELECT state FROM runs WHERE state = 'lost'")
        an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
        await stack.accept(stack.track("ada", "setup_completed", an_hour_ago))
        assert await stack.until("SELECT outcome FROM runs") == "too_late"


FIELDS = """
journey: fielded
entry: {on: signed_up, again: never}
topic: onboarding
start: waiting
states:
  waiting:
    on: {asked: {to: unexpected}}
    after:
      PT2S:
        - {to: paying, when: profile.plan == "paid"}
        - {to: trying}
  paying: {}
  trying: {}
  unexpected: {}
"""


async def test_an_overdue_timer_before_a_signal_is_decided_on_the_fields_of_its_own_instant(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    """A change of fields alone is not signalled, and the later signal has the fields of its own place."""
    async with stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack:
        await stack.publish(FIELDS, {"profile.plan": "string"})
        async with running_relay(stack):
            async with worker(stack):
                await stack.accept(stack.identify("ada", plan="trial"), stack.track("ada", "signed_up"))
                await stack.until("SELECT state FROM runs WHERE state = 'waiting'")
            due = (await stack.rows("SELECT next_due_at FROM runs"))[0]["next_due_at"]
            await stack.accept(stack.identify("ada", plan="paid"))
            await stack.until("SELECT clock_timestamp()", lambda now: now > due)
            await stack.accept(stack.identify("ada", plan="cancelled"), stack.track("ada", "asked"))
            await stack.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
            async with worker(stack):
                state = await stack.until("SELECT state FROM runs", lambda state: state != "waiting")
        run = (await stack.rows("SELECT id FROM runs"))[0]["id"]
        history = await fetch_decrypted(
            stack.client.get_workflow_handle(run), stack.client.data_converter.payload_codec
        )
    assert state == "paying"
    assert (await replay(run, history, strict=True)).faults == []
