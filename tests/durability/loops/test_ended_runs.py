"""Runs that are cancelled or terminated in Temporal's UI, and an operator's cancel that always works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client, Interceptor, OutboundInterceptor, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from api.http.limits import Limits
from api.runs.temporal import CONNECT_SECONDS, TemporalRunCommands
from store.database import execute, sql
from store.operations.closing import close_run
from tests.support.api import application, client
from tests.support.live_stack import LiveStack
from tests.support.worker_parts import running_relay, stack_without_workers, worker
from worker.loops.reconciliation import AT_ONCE, Reconciler, SweepResult
from worker.relay.signals import WorkflowSignals

JOURNEY = """
journey: far
entry: {on: signed_up, again: always}
topic: onboarding
start: waiting
states:
  waiting:
    do: [{task: call, owner: csm}]
    on: {ping: waiting}
    after: {P180D: done}
  done: {final: done}
"""


@pytest_asyncio.fixture
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack:
        yield stack


async def _begun(stack: LiveStack) -> str:
    await stack.publish(JOURNEY)
    await stack.accept(stack.track("ada", "signed_up"))
    return str(await stack.until("SELECT id FROM runs WHERE state = 'waiting'"))


async def _last_line(stack: LiveStack) -> str:
    rows = await stack.rows("SELECT text FROM timeline WHERE kind = 'finished'")
    return str(rows[-1]["text"])


async def test_A2_a_cancel_request_in_temporal_is_a_decision(stack: LiveStack) -> None:
    async with worker(stack), running_relay(stack):
        run = await _begun(stack)
        handle = stack.client.get_workflow_handle(run)
        await handle.cancel()
        assert await stack.until("SELECT outcome FROM runs") == "cancelled"
        assert await handle.result() == "cancelled", "it completes: its last step is in the store"
        assert [row["status"] for row in await stack.rows("SELECT status FROM tasks")] == ["withdrawn"]
        assert "requested in Temporal" in await _last_line(stack)


async def test_A2_a_cancel_request_without_a_worker_is_decided_when_there_is_one(stack: LiveStack) -> None:
    async with running_relay(stack):
        async with worker(stack):
            run = await _begun(stack)
        await stack.client.get_workflow_handle(run).cancel()
        await stack.accept(stack.track("ada", "ping"))
        async with worker(stack):
            assert await stack.until("SELECT outcome FROM runs") == "cancelled"


async def test_A2_the_relay_closes_the_row_of_a_terminated_run_and_the_person_may_enter_again(
    stack: LiveStack,
) -> None:
    async with worker(stack), running_relay(stack):
        run = await _begun(stack)
        await stack.client.get_workflow_handle(run).terminate(reason="looked wrong")
        await stack.accept(stack.track("ada", "ping"))
        assert await stack.until("SELECT outcome FROM runs") == "terminated"
        assert (await _last_line(stack)).endswith(": looked wrong")
        assert [row["status"] for row in await stack.rows("SELECT status FROM tasks")] == ["withdrawn"]
        await stack.accept(stack.track("ada", "signed_up"))
        await stack.until("SELECT count(*) FROM runs WHERE status = 'open' AND state = 'waiting'", lambda n: n == 1)


async def test_A2_the_sweep_finds_a_terminated_run_whose_deadline_is_far(stack: LiveStack) -> None:
    async with worker(stack), running_relay(stack):
        run = await _begun(stack)
        await stack.client.get_workflow_handle(run).terminate()
        signals = WorkflowSignals(stack.client, stack.settings.task_queue)
        sweep = Reconciler(stack.database, stack.client, signals, late=timedelta(minutes=45)).sweep
        assert await sweep() == SweepResult(closed=1)
        assert await sweep() == SweepResult()


async def test_A2_a_sweep_goes_on_where_another_process_has_stopped(stack: LiveStack) -> None:
    await stack.publish(JOURNEY)
    await stack.accept(*(stack.track(f"user{n}", "signed_up") for n in range(4)))
    async with stack.database.transaction() as connection:
        await execute(connection, sql("UPDATE outbox SET delivered_at = now()"))  # as if their signals were lost
        await execute(connection, sql("INSERT INTO sweeps SELECT 'open runs', max(id) FROM runs"))
    signals = WorkflowSignals(stack.client, stack.settings.task_queue)
    sweep = Reconciler(stack.database, stack.client, signals, late=timedelta(0)).sweep
    assert await sweep() == SweepResult(revived=4), "once around from its place"
    assert (await stack.rows("SELECT place FROM sweeps"))[0]["place"] == ""


class LastSignals(WorkflowSignals):
    """Signals of a process that is stopped while it sends the first."""

    stop: asyncio.Event

    async def start_run(self, run: Mapping[str, Any], subject: str, signal: str, arguments: Sequence[object]) -> None:
        self.stop.set()
        await super().start_run(run, subject, signal, arguments)


async def test_A2_a_sweep_that_is_stopped_keeps_its_place_before_the_runs_that_it_did_not_compare(
    stack: LiveStack,
) -> None:
    await stack.publish(JOURNEY)
    await stack.accept(*(stack.track(f"user{n}", "signed_up") for n in range(3 * AT_ONCE)))
    async with stack.database.transaction() as connection:
        await execute(connection, sql("UPDATE outbox SET delivered_at = now()"))  # as if their signals were lost
        await execute(connection, sql("INSERT INTO sweeps SELECT 'open runs', min(id) FROM runs"))
    signals = LastSignals(stack.client, stack.settings.task_queue)
    reconciler = Reconciler(stack.database, stack.client, signals, late=timedelta(0))
    signals.stop = reconciler.stop
    swept = await reconciler.sweep()
    assert swept is not None
    assert 0 < swept.revived <= AT_ONCE
    (kept,) = await stack.rows("SELECT place = (SELECT min(id) FROM runs) AS is_first FROM sweeps")
    assert kept["is_first"]


async def _never_asked(_: Client) -> bool:
    raise AssertionError("commands need no probe")


async def test_A2_an_operator_can_cancel_a_terminated_run_and_one_that_no_worker_decides(
    stack: LiveStack, database_url: str
) -> None:
    async def connected() -> object:
        return stack.client

    engine = TemporalRunCommands(connected, _never_asked)  # type: ignore[arg-type]
    async with client(application(database_url, engine=engine)) as api, running_relay(stack):
        async with worker(stack):
            terminated = await _begun(stack)
            await stack.client.get_workflow_handle(terminated).terminate()
            answer = await api.post(f"/v1/runs/{terminated}/cancel", json={"by": "dana", "reason": "moved"})
            assert (answer.status_code, answer.json()["outcome"]) == (200, "cancelled")
            await stack.accept(stack.track("ada", "signed_up"))
            stuck = str(await stack.until("SELECT id FROM runs WHERE status = 'open' AND state = 'waiting'"))
        answer = await api.post(f"/v1/runs/{stuck}/cancel", json={"by": "dana", "reason": "stuck"})
        assert (answer.status_code, answer.json()["outcome"]) == (200, "cancelled")
        assert (await stack.client.get_workflow_handle(stuck).describe()).status is WorkflowExecutionStatus.TERMINATED
        (_line,) = await stack.rows("SELECT text FROM timeline WHERE text LIKE 'cancelled by dana%stuck'")
        assert (await api.post(f"/v1/runs/{stuck}/cancel", json={"by": "dana", "reason": "again"})).status_code == 409


@dataclass
class Refusing(Interceptor):
    """A Temporal that refuses updates with this status; `patience` is the time that the calls to it may take."""

    status: RPCStatusCode
    patience: timedelta = timedelta()

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        refusing = self

        class Refused(OutboundInterceptor):
            async def start_workflow_update(self, input: Any) -> Any:
                refusing.patience += input.rpc_timeout
                raise RPCError("refused", refusing.status, b"")

            async def terminate_workflow(self, input: Any) -> None:
                refusing.patience += input.rpc_timeout
                await super().terminate_workflow(input)

        return Refused(next)


@pytest.mark.parametrize(
    ("status", "answer", "is_open"),
    [
        (RPCStatusCode.UNAVAILABLE, 200, False),
        (RPCStatusCode.DEADLINE_EXCEEDED, 200, False),
        (RPCStatusCode.PERMISSION_DENIED, 503, True),
        (RPCStatusCode.RESOURCE_EXHAUSTED, 503, True),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
async def test_A2_a_cancel_closes_a_row_only_if_no_workflow_decides_and_within_the_time_of_a_request(
    stack: LiveStack, database_url: str, status: RPCStatusCode, answer: int, is_open: bool
) -> None:
    refusing = Refusing(status)
    temporal = Client(stack.client.service_client, data_converter=stack.client.data_converter, interceptors=[refusing])

    async def connected() -> Client:
        return temporal

    async with client(application(database_url, engine=TemporalRunCommands(connected, _never_asked))) as api:
        async with worker(stack), running_relay(stack):
            run = await _begun(stack)
        cancelled = await api.post(f"/v1/runs/{run}/cancel", json={"by": "dana", "reason": "moved"})
    assert cancelled.status_code == answer, cancelled.text
    assert (await stack.rows("SELECT status = 'open' AS is_open FROM runs"))[0]["is_open"] is is_open
    spare = timedelta(seconds=Limits().patience_seconds) - refusing.patience
    assert spare > timedelta(seconds=CONNECT_SECONDS), "the first request also connects"


async def test_A2_a_workflow_whose_row_was_closed_has_no_further_effect(stack: LiveStack) -> None:
    """The row is closed, and the terminate that follows is lost."""
    async with worker(stack), running_relay(stack):
        run = await _begun(stack)
        async with stack.database.transaction() as connection:
            assert await close_run(connection, run, "cancelled", "cancelled by dana: moved")
        handle = stack.client.get_workflow_handle(run)
        await handle.signal("ping")
        assert await handle.result() == "cancelled"
        (row,) = await stack.rows("SELECT status, outcome, memory->>'outcome' AS memory FROM runs")
        assert tuple(row.values()) == ("closed", "cancelled", "cancelled")
        assert [row["status"] for row in await stack.rows("SELECT status FROM tasks")] == ["withdrawn"]
