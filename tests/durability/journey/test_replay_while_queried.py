"""Who asks a run while it works changes nothing: neither what it decides nor whether its history can be replayed.

A workflow task that answers a query is completed at once, whatever runs beside it. A local activity that has just ended is
then recorded one task before the workflow is told, and a replay tells it at once: at another time, at another length of
the history, before signals that it had already seen. Two such histories are kept (`tests/histories/asked`).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory
from temporalio.service import RPCError, RPCStatusCode

from journeys.protocol import wire
from tests.support.live_stack import Living
from tests.support.worker_parts import relaying, worker, workless
from worker.testing.replay import replay

JOURNEY = """
journey: asked
entry: {on: began, again: never}
topic: onboarding
variables: {seen: int}
start: here
states:
  here:
    do: [{set: {seen: "0"}}]
    on:
      ping: {do: [{set: {seen: journey.seen + 1}}, {send: setup/first-steps, via: [in_app], name: hello}]}
      pong: {do: [{set: {seen: journey.seen + 1}}]}
    after: {P400D: over}
  over: {final: done}
"""
PEOPLE = 6
TOLD_LATE = 4
"""Results that came a task late: with so many, a workflow that looked at the clock, the history or its letters between two
waits could not be replayed any more."""
ROUNDS = 150


async def test_a_run_that_is_asked_all_the_time_decides_and_replays_as_if_nobody_had(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as deps, relaying(deps), worker(deps):
        await deps.publish(JOURNEY)
        for n in range(PEOPLE):
            await deps.accept(deps.track(f"u{n}", "began"))
        await deps.until("SELECT count(*) FROM runs WHERE state = 'here'", lambda count: count == PEOPLE)
        runs = [item["id"] for item in await deps.rows("SELECT id FROM runs")]
        asking = [asyncio.create_task(_ask(deps, run)) for run in runs for _ in range(2)]
        told, late = 0, 0
        while late < TOLD_LATE and told < ROUNDS:
            for n in range(PEOPLE):
                await deps.accept(*(deps.track(f"u{n}", name) for name in ("ping", "pong")))
            told += 1
            await deps.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda left: left <= PEOPLE)
            if told % 5 == 0:
                late = sum([_late(history) async for history in _histories(deps, runs)])
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await deps.until("SELECT min((memory->'variables'->>'seen')::int) FROM runs", lambda seen: seen == 2 * told)
        replayed = [await replay("", each, strict=False) async for each in _histories(deps, runs)]
        assert [each.faults for each in replayed if each.faults] == []


async def _ask(deps: Living, run: str) -> None:
    while True:
        try:
            await deps.client.get_workflow_handle(run).query(wire.QUERY_STATE)
        except RPCError as fault:
            if fault.status is not RPCStatusCode.RESOURCE_EXHAUSTED:  # the server keeps one waiting query
                raise


async def _histories(deps: Living, runs: list[str]) -> AsyncIterator[WorkflowHistory]:
    for run in runs:
        async for each in deps.client.list_workflows(f"WorkflowId = '{run}'"):
            yield await deps.client.get_workflow_handle(run, run_id=each.run_id).fetch_history()


def _late(history: WorkflowHistory) -> int:
    """Markers that are followed by a task that nothing but the query has caused."""
    kinds = [event.event_type for event in history.events]
    pairs = itertools.pairwise(kinds)
    return sum(
        pair == (EventType.EVENT_TYPE_MARKER_RECORDED, EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED) for pair in pairs
    )
