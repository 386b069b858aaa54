"""Continue-as-new loses, doubles and changes nothing: every field of the state is the same after it."""

from __future__ import annotations

import base64
import dataclasses
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle
from temporalio.testing import TimeSkipper, TimeSkippingConfig

from journeys.decision.state import OpenTask, RunState, UnconsumedSignal, state_to_json
from journeys.events.inbound import InboundEvent
from journeys.protocol import wire
from store.database import execute as run_sql
from store.database import sql
from tests.support.live_stack import LiveStack, live_stack, until
from tests.support.worker_parts import running_relay, stack_without_workers, worker

SIGNALS = 250
"""Of 30 KB each: seven times as much as may be carried."""
COUNTING = """
journey: counting
entry: {on: began, again: never}
exit: [{on: stopped}]
topic: onboarding
variables: {seen: int}
start: here
states:
  here:
    do: [{set: {seen: "0"}}]
    on:
      ping: {do: [{set: {seen: journey.seen + 1}}]}
    after: {P300D: {do: [{set: {seen: journey.seen + 1000000}}]}}
"""


@pytest_asyncio.fixture
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path) as stack:
        yield stack


async def _begun(stack: LiveStack) -> str:
    await stack.publish(COUNTING)
    await stack.accept(stack.track("ada", "began"))
    return str(await stack.until("SELECT id FROM runs WHERE state = 'here'"))


async def _seen(stack: LiveStack, wanted: int) -> None:
    await stack.until("SELECT (memory->'variables'->>'seen')::int FROM runs", lambda seen: seen == wanted)


async def _runs_of(stack: LiveStack, run: str) -> list[WorkflowHandle[Any, Any]]:
    """Every run of a chain, the latest first."""
    handles, latest = [], stack.client.get_workflow_handle(run)
    run_id = (await latest.describe()).run_id
    while run_id:
        handle = stack.client.get_workflow_handle(run, run_id=run_id)
        handles.append(handle)
        first = await anext(aiter(handle.fetch_history_events(page_size=1)))
        run_id = first.workflow_execution_started_event_attributes.continued_execution_run_id
    return handles


async def test_a_run_continues_as_new_and_a_duplicate_across_it_changes_nothing(stack: LiveStack) -> None:
    run = await _begun(stack)
    handle = stack.client.get_workflow_handle(run)
    for n in range(1, 26):
        await stack.accept(stack.track("ada", "ping"))
        await _seen(stack, n)
    chain = await until(lambda: _runs_of(stack, run), lambda handles: len(handles) > 1)
    assert len(chain) >= 2
    async with (
        stack.database.transaction() as connection
    ):  # as if the relay had crashed after signalling, before recording it
        await run_sql(connection, sql("UPDATE outbox SET delivered_at = NULL"))
    await stack.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
    shown = await handle.query(wire.QUERY_STATE)
    assert shown["inbox"] == 0
    assert shown["state"]["variables"]["seen"] == 25


async def test_a_plain_signal_sent_again_after_continue_as_new_is_dropped_by_its_id(stack: LiveStack) -> None:
    run = await _begun(stack)
    handle = stack.client.get_workflow_handle(run)
    await handle.signal("ping", {"id": "order-1"})
    await _seen(stack, 1)
    for n in range(2, 27):
        await stack.accept(stack.track("ada", "ping"))
        await _seen(stack, n)
    await until(lambda: _runs_of(stack, run), lambda handles: len(handles) > 1)
    await handle.signal("ping", {"id": "order-1"})
    await handle.signal("ping", {"id": "order-2"})
    await _seen(stack, 27)
    stored = await stack.rows("SELECT name FROM events WHERE source = 'temporal'")
    assert len(stored) == 2


@pytest.mark.slow
async def test_ten_thousand_events_of_one_run_are_decided_in_short_histories(stack: LiveStack) -> None:
    run = await _begun(stack)
    for batch in range(100):
        calls = [InboundEvent("track", f"p{batch}-{n}", "ping", user_id="ada") for n in range(100)]
        await stack.accept(*calls)
    await until(lambda: _count(stack), lambda seen: seen == 10_000, timeout=150)
    lengths = [(await handle.describe()).history_length for handle in await _runs_of(stack, run)]
    assert len(lengths) > 1
    assert max(lengths) < 3_000
    lines = await stack.rows("SELECT count(*) AS n, count(DISTINCT step) AS steps FROM timeline WHERE kind = 'fired'")
    assert lines[0]["n"] == 10_000
    assert lines[0]["steps"] < 1_000, "signals that wait together share a step"
    assert await stack.rows("SELECT * FROM dead_letters") == []


async def _count(stack: LiveStack) -> int:
    return int((await stack.rows("SELECT memory->'variables'->>'seen' AS n FROM runs"))[0]["n"])


def _full_state() -> RunState:
    at = datetime(2026, 5, 3, 10, 30, 0, 123_456, tzinfo=UTC)
    return RunState(
        state="here", visit=3, started_at=at, entered_at=at, last_at=at, visits={"here": 3, "there": 1},
        timers={"goal": at + timedelta(days=900), "s:after.P300D": at + timedelta(days=300)},
        fired={"s:every.P7D": 2}, anchors={"j:at.0": "2027-01-01T00:00:00+00:00"}, firings={"send:a/b": 2},
        variables={"seen": 7, "ratio": 0.1, "name": "Zoë"}, facts={"profile.plan": "team", "account.seats": 3},
        seqs={"u_1": 9, "a_1": 4}, missed=(UnconsumedSignal("ping", at, {"a": [1, {"b": None}]}),),
        tasks={"call": OpenTask("csm", 1)}, paused_at=at,
        held=({"kind": "send", "action": "send:a/b", "state": "here", "visit": 3},),
        waiting=({"kind": "send", "action": "send:a/c", "state": "here", "visit": 3},),
    )  # fmt: skip


async def test_the_state_after_continue_as_new_equals_the_state_before_in_every_field(
    stack: LiveStack, task_queue: str
) -> None:
    definition = await stack.publish(COUNTING)
    before = _full_state()
    blank = RunState()
    assert [f.name for f in dataclasses.fields(RunState) if getattr(before, f.name) == getattr(blank, f.name)] == [
        "outcome"
    ]
    skipper = TimeSkipper(stack.client, config=TimeSkippingConfig(enabled=False))
    run = wire.run_id("counting", "u_1", task_queue, 1)
    carried = {"state": state_to_json(before), "step": 41, "inbox": [], "ids": ["=x"], "plain": 5}
    start = wire.RunInput(run, definition, "user", "u_1", before.last_at.isoformat(), carried=carried)
    handle = await skipper.client.start_workflow(wire.JOURNEY_WORKFLOW, start, id=run, task_queue=task_queue)
    first = handle.first_execution_run_id
    shown = await stack.client.get_workflow_handle(run).query(wire.QUERY_STATE)
    await skipper.fast_forward(stack.client.get_workflow_handle(run), timedelta(days=31))
    await stack.client.get_workflow_handle(run).signal(wire.SIGNAL_NUDGE)
    continued = stack.client.get_workflow_handle(run)
    await until(continued.describe, lambda now: now.run_id != first)
    assert await continued.query(wire.QUERY_STATE) == shown
    assert shown["state"] == carried["state"]
    started = await anext(aiter(continued.fetch_history_events(page_size=1)))
    (given,) = await stack.client.data_converter.decode(
        started.workflow_execution_started_event_attributes.input.payloads, [wire.RunInput]
    )
    assert given.carried == carried
    await continued.terminate()


async def test_signals_that_continue_as_new_did_not_carry_are_decided_by_the_next_run(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with (
        stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack,
        running_relay(stack),
    ):
        async with worker(stack):
            run = await _begun(stack)
            await stack.accept(stack.track("ada", "ping"))
            await _seen(stack, 1)
            before = await stack.client.get_workflow_handle(run).query(wire.QUERY_STATE)
        await stack.accept(*(stack.track("ada", "ping") for _ in range(3)))
        await stack.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
        await stack.client.get_workflow_handle(run).terminate()  # with all signals that it has received
        (row,) = await stack.rows("SELECT subject_key, definition FROM runs")
        (lane,) = await stack.rows(
            "SELECT recipient, min(seq) AS first FROM outbox WHERE name = 'ping' GROUP BY recipient"
        )
        envelope = wire.Envelope("e", lane["recipient"], lane["first"] + 1, before["state"]["last_at"], name="ping")
        carried = {"state": before["state"], "step": before["step"], "ids": [], "plain": 0}
        carried["inbox"] = [[wire.SIGNAL_EVENT, dataclasses.asdict(envelope)]]
        start = wire.RunInput(
            run, row["definition"], "user", row["subject_key"], before["state"]["started_at"], carried=carried
        )
        await stack.client.start_workflow(wire.JOURNEY_WORKFLOW, start, id=run, task_queue=task_queue)
        async with worker(stack):
            await _seen(stack, 4)


async def test_the_new_run_reaches_its_wait_in_one_workflow_task(stack: LiveStack) -> None:
    run = await _begun(stack)
    for n in range(1, 26):
        await stack.accept(stack.track("ada", "ping"))
        await _seen(stack, n)
    latest, *_ = await until(lambda: _runs_of(stack, run), lambda handles: len(handles) > 1)
    await latest.query(wire.QUERY_EXPLAIN)
    kinds = [EventType.Name(event.event_type) async for event in latest.fetch_history_events()]
    names = [kind.removeprefix("EVENT_TYPE_") for kind in kinds if not kind.endswith("_SIGNALED")]
    first = names[: names.index("TIMER_STARTED")]
    assert first.count("WORKFLOW_TASK_STARTED") == 1
    assert set(first[4:]) == {"MARKER_RECORDED"}


async def test_an_inbox_too_large_to_carry_is_decided_before_continue_as_new(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with (
        stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack,
        running_relay(stack),
    ):
        async with worker(stack):
            run = await _begun(stack)
        handle = stack.client.get_workflow_handle(run)
        for n in range(SIGNALS):
            await handle.signal("ping", {"text": base64.b85encode(random.Random(n).randbytes(24_000)).decode()})
        async with worker(stack):
            await stack.until("SELECT (memory->'variables'->>'seen')::int FROM runs", lambda n: n == SIGNALS)
        lengths = [(await execution.describe()).history_length for execution in await _runs_of(stack, run)]
        assert len(lengths) > 1
        assert max(lengths) < 5_000


async def test_a_plain_signal_behind_more_signals_than_one_answer_holds_is_sent_by_the_relay(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack, worker(stack):
        async with running_relay(stack):
            run = await _begun(stack)
        for batch in range(6):
            await stack.accept(*(InboundEvent("track", f"p{batch}-{n}", "ping", user_id="ada") for n in range(100)))
        await stack.client.get_workflow_handle(run).signal("ping")
        await _seen(stack, 500)
        async with running_relay(stack):
            await _seen(stack, 601)
