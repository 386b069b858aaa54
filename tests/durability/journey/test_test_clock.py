"""A test clock on real parts: its driver decides each deadline and message at its own instant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest_asyncio

from journeys.protocol import wire
from tests.support.live_stack import LiveStack, live_stack

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
    async with live_stack(database_url, temporal_address, task_queue, tmp_path, driving=True) as stack:
        await stack.publish(JOURNEY)
        await stack.create_clock("demo", ORIGIN)
        yield stack


async def _ada(stack: LiveStack) -> None:
    await stack.accept(stack.identify("ada", email="ada@example.com", first_name="Ada"), clock="demo")
    await stack.accept(stack.track("ada", "signed_up"), clock="demo")
    await stack.ready("demo")


async def test_nothing_happens_on_a_clock_that_nobody_advances(stack: LiveStack) -> None:
    await _ada(stack)
    (run,) = await stack.rows("SELECT state, entered_at, next_due_at FROM runs")
    assert (run["state"], run["entered_at"], run["next_due_at"]) == ("waiting", ORIGIN, ORIGIN + timedelta(days=3))
    assert (await stack.ready("demo")).now == ORIGIN


async def test_each_deadline_is_decided_at_its_own_instant(stack: LiveStack) -> None:
    await _ada(stack)
    await stack.advance("demo", ORIGIN + timedelta(days=2))
    assert (await stack.ready("demo")).now == ORIGIN + timedelta(days=2)
    assert (await stack.rows("SELECT state FROM runs"))[0]["state"] == "waiting"
    await stack.advance("demo", ORIGIN + timedelta(days=365))
    assert (await stack.ready("demo")).now == ORIGIN + timedelta(days=365)
    (run,) = await stack.rows("SELECT outcome, ended_at FROM runs")
    assert (run["outcome"], run["ended_at"]) == ("done", ORIGIN + timedelta(days=33))
    lines = await stack.rows("SELECT at FROM timeline WHERE kind = 'moved' ORDER BY at")
    assert [line["at"] - ORIGIN for line in lines][-2:] == [timedelta(days=3), timedelta(days=33)]


async def test_a_message_that_waits_is_sent_at_the_instant_at_which_its_wait_ends(stack: LiveStack) -> None:
    await _ada(stack)
    await stack.accept(stack.track("ada", "setup_completed"))
    await stack.ready("demo")
    (held,) = await stack.rows("SELECT due_at FROM messages WHERE status = 'deferred'")
    await stack.advance("demo", ORIGIN + timedelta(days=2))
    await stack.ready("demo")
    first, second = await stack.rows("SELECT sent_at FROM messages WHERE status = 'sent' ORDER BY sent_at")
    assert (first["sent_at"], second["sent_at"]) == (ORIGIN, held["due_at"])
    assert stack.mail.count() == 2


async def test_an_operators_command_is_decided_at_the_clocks_now(stack: LiveStack) -> None:
    await _ada(stack)
    (run,) = await stack.rows("SELECT id FROM runs")
    handle = stack.client.get_workflow_handle(run["id"])
    assert await handle.execute_update(wire.UPDATE_PAUSE, {"by": "olga"}) == "paused"
    await stack.advance("demo", ORIGIN + timedelta(days=10))
    await stack.ready("demo")
    assert (await stack.rows("SELECT state FROM runs"))[0]["state"] == "waiting", "a paused run's timers do not fire"
    asked = {"by": "olga", "reason": "enough"}
    assert await handle.execute_update(wire.UPDATE_CANCEL, asked) == "cancelled"
    (row,) = await stack.rows("SELECT last_at, ended_at FROM runs")
    assert row["last_at"] == row["ended_at"] == ORIGIN + timedelta(days=10)


async def test_a_run_on_a_clock_arms_no_timer(stack: LiveStack) -> None:
    await _ada(stack)
    await stack.advance("demo", ORIGIN + timedelta(days=5))
    await stack.ready("demo")
    (run,) = await stack.rows("SELECT id FROM runs")
    history = await stack.client.get_workflow_handle(run["id"]).fetch_history()
    assert not any(event.HasField("timer_started_event_attributes") for event in history.events)
