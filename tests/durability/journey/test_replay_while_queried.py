"""Queries change neither the decisions of a running workflow nor the replay of its history.

A workflow task that answers a query is completed at once, whatever runs beside it. The result of a local activity that has
just ended is then recorded one task before the workflow receives it, while a replay delivers it at once: at another time, at
another length of the history, before signals that the run had already received. Two such histories are kept in
`tests/histories/asked`.
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
from tests.support.live_stack import LiveStack
from tests.support.worker_parts import running_relay, stack_without_workers, worker
from worker.testing.decryption import fetch_decrypted
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
QUERIES_AT_ONCE = 4
"""Callers that query one run: with fewer a result is seldom late, and the test takes longer."""
LATE_RESULTS = 4
"""Results that arrived a task late: with so many, a workflow that read the clock, the history length or its signals between
two waits could not be replayed."""
ROUNDS = 150


async def test_a_run_under_constant_queries_decides_and_replays_correctly(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with (
        stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack,
        running_relay(stack),
        worker(stack),
    ):
        await stack.publish(JOURNEY)
        for n in range(PEOPLE):
            await stack.accept(stack.track(f"u{n}", "began"))
        await stack.until("SELECT count(*) FROM runs WHERE state = 'here'", lambda count: count == PEOPLE)
        runs = [item["id"] for item in await stack.rows("SELECT id FROM runs")]
        asking = [asyncio.create_task(_query_constantly(stack, run)) for run in runs for _ in range(QUERIES_AT_ONCE)]
        rounds, late = 0, 0
        while late < LATE_RESULTS and rounds < ROUNDS:
            for n in range(PEOPLE):
                await stack.accept(*(stack.track(f"u{n}", name) for name in ("ping", "pong")))
            rounds += 1
            await stack.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda left: left <= PEOPLE)
            if rounds % 5 == 0:
                late = sum([_late_results(history) async for history in _histories(stack, runs)])
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await stack.until("SELECT min((memory->'variables'->>'seen')::int) FROM runs", lambda seen: seen == 2 * rounds)
        replayed = [await replay("", history, strict=False) async for history in _histories(stack, runs)]
        assert [result.faults for result in replayed if result.faults] == []


async def _query_constantly(stack: LiveStack, run: str) -> None:
    while True:
        try:
            await stack.client.get_workflow_handle(run).query(wire.QUERY_STATE)
        except RPCError as fault:
            if fault.status is not RPCStatusCode.RESOURCE_EXHAUSTED:  # the server queues only one query
                raise


async def _histories(stack: LiveStack, runs: list[str]) -> AsyncIterator[WorkflowHistory]:
    for run in runs:
        async for execution in stack.client.list_workflows(f"WorkflowId = '{run}'"):
            handle = stack.client.get_workflow_handle(run, run_id=execution.run_id)
            yield await fetch_decrypted(handle, stack.client.data_converter.payload_codec)


def _late_results(history: WorkflowHistory) -> int:
    """The number of markers followed by a workflow task that only a query has caused."""
    kinds = [event.event_type for event in history.events]
    pairs = itertools.pairwise(kinds)
    return sum(
        pair == (EventType.EVENT_TYPE_MARKER_RECORDED, EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED) for pair in pairs
    )
