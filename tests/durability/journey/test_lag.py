"""Lag changes nothing: what was accepted before a timer's due instant wins, even when the run hears of it last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.live_stack import Living
from tests.support.worker_parts import relaying, worker, workless

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


async def _begun(deps: Living) -> None:
    await deps.publish(JOURNEY)
    async with relaying(deps):
        await deps.accept(deps.track("ada", "signed_up"))
        await deps.until("SELECT state FROM runs WHERE state = 'waiting'")


async def test_an_event_accepted_before_a_timer_wins_while_the_outbox_lags(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as deps, worker(deps):
        await _begun(deps)
        await deps.accept(deps.track("ada", "setup_completed"))
        assert await deps.until("SELECT state FROM runs WHERE state <> 'waiting'") == "helped"
        async with relaying(deps):
            await deps.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
            await deps.accept(deps.track("ada", "over"))
            assert await deps.until("SELECT outcome FROM runs") == "done"
        visits = await deps.rows("SELECT memory->'visits' AS visits FROM runs")
        assert "lost" not in str(visits[0]["visits"])


@pytest.mark.parametrize("told_first", ["the signal", "the timer"])
async def test_a_signal_and_a_timer_that_wait_for_a_worker_are_decided_by_their_instants(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, told_first: str
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as deps:
        async with worker(deps):
            await _begun(deps)
        due = (await deps.rows("SELECT next_due_at FROM runs"))[0]["next_due_at"]
        before = due - timedelta(milliseconds=500)
        at = before if told_first == "the signal" else due + timedelta(milliseconds=500)
        await deps.until("SELECT clock_timestamp()", lambda now: now > due + timedelta(seconds=1))
        async with relaying(deps):
            await deps.accept(deps.track("ada", "setup_completed", at))
            await deps.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
        async with worker(deps):
            wanted = "helped" if told_first == "the signal" else "too_late"
            await deps.until("SELECT state FROM runs", lambda state: state == wanted)


async def test_a_late_sender_cannot_rewrite_what_a_timer_has_decided(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as deps, worker(deps), relaying(deps):
        await deps.publish(JOURNEY)
        await deps.accept(deps.track("ada", "signed_up"))
        await deps.until("SELECT state FROM runs WHERE state = 'lost'")
        an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
        await deps.accept(deps.track("ada", "setup_completed", an_hour_ago))
        assert await deps.until("SELECT outcome FROM runs") == "too_late"
