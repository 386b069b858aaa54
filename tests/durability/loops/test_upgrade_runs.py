"""Runs that sleep are woken at an operator's pace, to continue on the current build (A7)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from temporalio.service import RPCError, RPCStatusCode

from tests.support.live_stack import LiveStack, live_stack, until
from worker.relay.ended_runs import EndedRuns
from worker.relay.signals import WorkflowSignals
from worker.upgrade_runs import Progress, main, nudge_open_runs

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
NUDGE_EVENTS = 4
"""A signal, and a workflow task that is scheduled, started and completed."""


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
        progress, ended = Progress(), EndedRuns(stack.database, stack.client)
        await nudge_open_runs(stack.database, signals, ended, RATE, progress)
        assert progress == Progress(runs[-1], 6)
        assert asyncio.get_running_loop().time() - began >= 6 / RATE
        for run, length in zip(runs[1:], lengths, strict=True):
            assert await _decided_length(stack, run, length + NUDGE_EVENTS) == length + NUDGE_EVENTS, "once"
        assert (await stack.rows("SELECT outcome FROM runs WHERE id = :id", id=runs[0]))[0]["outcome"] == "terminated"
        after = await stack.rows("SELECT id, step FROM runs WHERE status = 'open' ORDER BY id")
        assert after == [row for row in steps if row["id"] != runs[0]]


async def _decided_length(stack: LiveStack, run: str, least: int) -> int:
    """Wait until the history of a run has so many events; how many it has."""

    async def length() -> int:
        return (await stack.client.get_workflow_handle(run).describe()).history_length

    return await until(length, lambda events: events >= least, waiting_for=run)


class LostSignals(WorkflowSignals):
    """Signals to a Temporal that is lost after two."""

    left = 2

    async def start_run(self, run: Any, subject: str, signal: str, arguments: Sequence[object]) -> None:
        if not self.left:
            raise RPCError("connection refused", RPCStatusCode.UNAVAILABLE, b"")
        self.left -= 1
        await super().start_run(run, subject, signal, arguments)


async def test_A7_a_call_that_was_cut_short_is_continued_after_the_last_run_that_it_woke(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path) as stack:
        await stack.publish(JOURNEY)
        await stack.accept(*(stack.track(f"user{n}", "signed_up") for n in range(5)))
        await stack.until("SELECT count(*) FROM runs WHERE state = 'waiting'", lambda n: n == 5)
        runs = [row["id"] for row in await stack.rows("SELECT id FROM runs ORDER BY id")]
        progress, ended = Progress(), EndedRuns(stack.database, stack.client)
        with pytest.raises(RPCError):
            await nudge_open_runs(stack.database, LostSignals(stack.client, task_queue), ended, 1000, progress)
        assert progress == Progress(runs[1], 2)
        await nudge_open_runs(stack.database, WorkflowSignals(stack.client, task_queue), ended, 1000, progress)
        assert progress == Progress(runs[-1], 5)


@pytest.mark.parametrize("rate", ["0", "-1", "nan"])
def test_A7_a_rate_that_is_not_above_zero_is_refused(
    rate: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["upgrade_runs", "--rate", rate])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "must be above 0" in capsys.readouterr().err
