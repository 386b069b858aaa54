"""A test clock in the store: it holds timers back, scales them, and the gate and what is owed live by it too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest_asyncio

from journeys.protocol import wire
from store.people.test_clocks import set_clock
from tests.support.live_stack import Living, living, until

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
async def deps(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[Living]:
    async with living(database_url, temporal_address, task_queue, tmp_path) as found:
        await found.publish(JOURNEY)
        yield found


async def _clock(deps: Living, limit: timedelta, speed: float = A_DAY_A_SECOND) -> None:
    async with deps.database.transaction() as connection:
        await set_clock(connection, "demo", ORIGIN, speed, ORIGIN + limit)


async def _ada(deps: Living) -> None:
    await deps.accept(deps.identify("ada", email="ada@example.com", first_name="Ada"), clock="demo")
    await deps.accept(deps.track("ada", "signed_up"), clock="demo")
    await deps.until("SELECT state FROM runs WHERE state = 'waiting'")


async def test_a_held_clock_keeps_timers_back_until_its_feeder_moves_it(deps: Living) -> None:
    await _clock(deps, timedelta(0), speed=1e6)
    await _ada(deps)
    await _clock(deps, timedelta(hours=70))
    (row,) = await deps.rows("SELECT id, next_due_at FROM runs")
    handle = deps.client.get_workflow_handle(row["id"])
    grown = (await handle.describe()).history_length
    # It rings at once in real time, asks the clock, and asks again.
    await _until_asked(deps, row["id"], grown + 8)
    assert (await deps.rows("SELECT state FROM runs"))[0]["state"] == "waiting"
    await _clock(deps, timedelta(hours=80))
    await deps.until("SELECT state FROM runs", lambda state: state == "later")
    (line,) = await deps.rows("SELECT at FROM timeline WHERE text LIKE '%now in later%'")
    assert line["at"] == row["next_due_at"]


async def _until_asked(deps: Living, run: str, length: int) -> None:
    await until(lambda: deps.client.get_workflow_handle(run).describe(), lambda now: now.history_length >= length)


async def test_an_operator_does_not_wait_for_a_clock_that_is_held(deps: Living) -> None:
    await _clock(deps, timedelta(0), speed=1e6)
    await _ada(deps)
    run = (await deps.rows("SELECT id FROM runs"))[0]["id"]
    asked = {"by": "olga", "reason": "enough"}
    assert await deps.client.get_workflow_handle(run).execute_update(wire.UPDATE_CANCEL, asked) == "cancelled"
    (row,) = await deps.rows("SELECT last_at FROM runs")
    assert row["last_at"] == ORIGIN


async def test_a_fast_clock_plays_a_month_in_seconds_with_decisions_at_their_instants(deps: Living) -> None:
    await _clock(deps, timedelta(days=100), speed=20 * A_DAY_A_SECOND)
    await _ada(deps)
    assert await deps.until("SELECT outcome FROM runs") == "done"
    (row,) = await deps.rows("SELECT started_at, last_at FROM runs")
    assert row["last_at"] - row["started_at"] == timedelta(days=33)


async def test_what_is_owed_on_a_test_clock_is_sent_when_that_clock_says_so(deps: Living) -> None:
    await _clock(deps, timedelta(days=100))
    await _ada(deps)
    await deps.accept(deps.track("ada", "setup_completed"), clock="demo")
    await deps.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 2)
    first, second = await deps.rows("SELECT sent_at FROM messages ORDER BY sent_at")
    assert second["sent_at"] - first["sent_at"] >= timedelta(hours=20)
    assert second["sent_at"] < ORIGIN + timedelta(days=30)
    assert deps.mail.count() == 2
