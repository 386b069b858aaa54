"""Runs that sleep are woken at an operator's pace, to continue on the current build (A7)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.live_stack import live_stack
from worker.relay.ended_runs import EndedRuns
from worker.relay.signals import WorkflowSignals
from worker.upgrade_runs import nudge_open_runs

JOURNEY = """
journey: asleep
entry: {on: signed_up, again: never}
topic: onboarding
start: waiting
states:
  waiting: {after: {P180D: done}}
  done: {final: done}
"""
RATE = 10.0


async def test_A7_every_open_run_is_woken_once_at_the_rate_and_changes_nothing(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path) as stack:
        await stack.publish(JOURNEY)
        await stack.accept(*(stack.track(f"user{n}", "signed_up") for n in range(6)))
        await stack.until("SELECT count(*) FROM runs WHERE state = 'waiting'", lambda n: n == 6)
        runs = [row["id"] for row in await stack.rows("SELECT id FROM runs ORDER BY id")]
        await stack.client.get_workflow_handle(runs[0]).terminate()
        steps = await stack.rows("SELECT id, step FROM runs WHERE status = 'open' ORDER BY id")
        lengths = [(await stack.client.get_workflow_handle(run).describe()).history_length for run in runs[1:]]
        signals = WorkflowSignals(stack.client, task_queue)
        began = asyncio.get_running_loop().time()
        count, last = await nudge_open_runs(stack.database, signals, EndedRuns(stack.database, stack.client), RATE)
        assert (count, last) == (6, runs[-1])
        assert asyncio.get_running_loop().time() - began >= 6 / RATE
        for run, length in zip(runs[1:], lengths, strict=True):
            assert (await stack.client.get_workflow_handle(run).describe()).history_length > length
        assert (await stack.rows("SELECT outcome FROM runs WHERE id = :id", id=runs[0]))[0]["outcome"] == "terminated"
        after = await stack.rows("SELECT id, step FROM runs WHERE status = 'open' ORDER BY id")
        assert after == [row for row in steps if row["id"] != runs[0]]
