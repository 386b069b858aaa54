"""Test clocks: they hold and scale timers, and the gate and outreach use their time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest_asyncio

from journeys.protocol import wire
from store.people.test_clocks import set_clock
from tests.support.live_stack import LiveStack, live_stack, until

A_DAY_A_SECOND = 86_400.0
ORIGIN = datetime(2027, 1, 4, 9, 0, tzinfo=UTC)
JOURNEY = """
journey: clocked
entry: {on: signed_up, again: never}
topic: onboarding
start: waiting
states:
  waiting:
    do: [{send: setup/first-steps, via: [email]}]
    on: {setup_completed: {do: [{send: setup/checklist, via: [email]}]}}
    after: {P3D: later}
  later: {after: {P30D: over}}
  over: {final: done}
"""


@pytest_asyncio.fixture
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path) as stack:
        await stack.publish(JOURNEY)
        yield stack


async def _clock(stack: LiveStack, limit: timedelta, speed: float = A_DAY_A_SECOND) -> None:
    async with stack.database.transaction() as connection:
        await set_clock(connection, "demo", ORIGIN, speed, ORIGIN + limit)


async def _ada(stack: LiveStack) -> None:
    await stack.accept(stack.identify("ada", email="ada@example.com", first_name="Ada"), clock="demo")
    await stack.accept(stack.track("ada", "signed_up"), clock="demo")
    await stack.until("SELECT state FROM runs WHERE state = 'waiting'")


async def test_a_stopped_test_clock_holds_timers_until_its_limit_moves(stack: LiveStack) -> None:
    await _clock(stack, timedelta(0), speed=1e6)
    await _ada(stack)
    await _clock(stack, timedelta(hours=70))
    (row,) = await stack.rows("SELECT id, next_due_at FROM runs")
    handle = stack.client.get_workflow_handle(row["id"])
    grown = (await handle.describe()).history_length
    # The timer fires at once in real time, reads the test clock, and is set again.
    await _wait_for_history_length(stack, row["id"], grown + 8)
    assert (await stack.rows("SELECT state FROM runs"))[0]["state"] == "waiting"
    await _clock(stack, timedelta(hours=80))
    await stack.until("SELECT state FROM runs", lambda state: state == "later")
    (line,) = await stack.rows("SELECT at FROM timeline WHERE text LIKE '%now in later%'")
    assert line["at"] == row["next_due_at"]


async def _wait_for_history_length(stack: LiveStack, run: str, length: int) -> None:
    await until(lambda: stack.client.get_workflow_handle(run).describe(), lambda now: now.history_length >= length)


async def test_an_operator_command_does_not_wait_for_a_stopped_test_clock(stack: LiveStack) -> None:
    await _clock(stack, timedelta(0), speed=1e6)
    await _ada(stack)
    run = (await stack.rows("SELECT id FROM runs"))[0]["id"]
    command = {"by": "olga", "reason": "enough"}
    assert await stack.client.get_workflow_handle(run).execute_update(wire.UPDATE_CANCEL, command) == "cancelled"
    (row,) = await stack.rows("SELECT last_at FROM runs")
    assert row["last_at"] == ORIGIN


async def test_a_fast_test_clock_runs_a_month_in_seconds_with_decisions_at_their_instants(stack: LiveStack) -> None:
    await _clock(stack, timedelta(days=100), speed=20 * A_DAY_A_SECOND)
    await _ada(stack)
    assert await stack.until("SELECT outcome FROM runs") == "done"
    (row,) = await stack.rows("SELECT started_at, last_at FROM runs")
    assert row["last_at"] - row["started_at"] == timedelta(days=33)


async def test_a_deferred_message_is_sent_at_the_time_of_the_test_clock(stack: LiveStack) -> None:
    await _clock(stack, timedelta(days=100))
    await _ada(stack)
    await stack.accept(stack.track("ada", "setup_completed"), clock="demo")
    await stack.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 2)
    first, second = await stack.rows("SELECT sent_at FROM messages ORDER BY sent_at")
    assert second["sent_at"] - first["sent_at"] >= timedelta(hours=20)
    assert second["sent_at"] < ORIGIN + timedelta(days=30)
    assert stack.mail.count() == 2
