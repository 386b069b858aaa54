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
async def house(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[Living]:
    async with living(database_url, temporal_address, task_queue, tmp_path) as found:
        await found.publish(JOURNEY)
        yield found


async def _clock(house: Living, limit: timedelta, speed: float = A_DAY_A_SECOND) -> None:
    async with house.database.transaction() as connection:
        await set_clock(connection, "demo", ORIGIN, speed, ORIGIN + limit)


async def _ada(house: Living) -> None:
    await house.accept(house.identify("ada", email="ada@example.com", first_name="Ada"), clock="demo")
    await house.accept(house.track("ada", "signed_up"), clock="demo")
    await house.until("SELECT state FROM runs WHERE state = 'waiting'")


async def test_a_held_clock_keeps_timers_back_until_its_feeder_moves_it(house: Living) -> None:
    await _clock(house, timedelta(0), speed=1e6)
    await _ada(house)
    await _clock(house, timedelta(hours=70))
    (row,) = await house.rows("SELECT id, next_due_at FROM runs")
    handle = house.client.get_workflow_handle(row["id"])
    grown = (await handle.describe()).history_length
    # It rings at once in real time, asks the clock, and asks again.
    await _until_asked(house, row["id"], grown + 8)
    assert (await house.rows("SELECT state FROM runs"))[0]["state"] == "waiting"
    await _clock(house, timedelta(hours=80))
    await house.until("SELECT state FROM runs", lambda state: state == "later")
    (line,) = await house.rows("SELECT at FROM timeline WHERE text LIKE '%now in later%'")
    assert line["at"] == row["next_due_at"]


async def _until_asked(house: Living, run: str, length: int) -> None:
    await until(lambda: house.client.get_workflow_handle(run).describe(), lambda now: now.history_length >= length)


async def test_an_operator_does_not_wait_for_a_clock_that_is_held(house: Living) -> None:
    await _clock(house, timedelta(0), speed=1e6)
    await _ada(house)
    run = (await house.rows("SELECT id FROM runs"))[0]["id"]
    asked = {"by": "olga", "reason": "enough"}
    assert await house.client.get_workflow_handle(run).execute_update(wire.UPDATE_CANCEL, asked) == "cancelled"
    (row,) = await house.rows("SELECT last_at FROM runs")
    assert row["last_at"] == ORIGIN


async def test_a_fast_clock_plays_a_month_in_seconds_with_decisions_at_their_instants(house: Living) -> None:
    await _clock(house, timedelta(days=100), speed=20 * A_DAY_A_SECOND)
    await _ada(house)
    assert await house.until("SELECT outcome FROM runs") == "done"
    (row,) = await house.rows("SELECT started_at, last_at FROM runs")
    assert row["last_at"] - row["started_at"] == timedelta(days=33)


async def test_what_is_owed_on_a_test_clock_is_sent_when_that_clock_says_so(house: Living) -> None:
    await _clock(house, timedelta(days=100))
    await _ada(house)
    await house.accept(house.track("ada", "setup_completed"), clock="demo")
    await house.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 2)
    first, second = await house.rows("SELECT sent_at FROM messages ORDER BY sent_at")
    assert second["sent_at"] - first["sent_at"] >= timedelta(hours=20)
    assert second["sent_at"] < ORIGIN + timedelta(days=30)
    assert house.mail.count() == 2
