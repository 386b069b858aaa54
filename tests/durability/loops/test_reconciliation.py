"""Reconciliation: overdue runs are nudged, missing ones resumed from their rows, ended ones closed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from journeys.protocol import wire
from store.database import execute, fetch_all, sql
from store.locks import Lock, release_lock, take_lock
from store.operations.reconciliation import people_with_forgotten_messages
from tests.support.live_stack import LiveStack, until
from tests.support.worker_parts import running_relay, stack_without_workers, worker
from worker.loops.reconciliation import Reconciler, SweepResult
from worker.relay.ended_runs import EndedRuns
from worker.relay.signals import WorkflowSignals

JOURNEY = """
journey: late
entry: {on: signed_up, again: never}
topic: onboarding
start: waiting
states:
  waiting: {after: {PT1S: done}}
  done: {final: done}
"""


def _reconciler(stack: LiveStack) -> Reconciler:
    signals = WorkflowSignals(stack.client, stack.settings.task_queue)
    return Reconciler(stack.database, stack.client, signals, late=timedelta(seconds=0))


async def _overdue_run(stack: LiveStack, terminated: bool) -> str:
    """A run whose worker stops before its timer fires; its id."""
    await stack.publish(JOURNEY)
    async with worker(stack), running_relay(stack):
        await stack.accept(stack.track("ada", "signed_up"))
        identity = str(await stack.until("SELECT id FROM runs WHERE state = 'waiting'"))
        if terminated:
            await stack.client.get_workflow_handle(identity).terminate()
    await stack.until("SELECT next_due_at < clock_timestamp() FROM runs")
    return identity


async def test_an_overdue_run_is_nudged(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack:
        await _overdue_run(stack, terminated=False)
        assert await _reconciler(stack).sweep() == SweepResult(late=1, nudged=1)
        async with worker(stack):
            assert await stack.until("SELECT outcome FROM runs") == "done"
            assert await _reconciler(stack).sweep() == SweepResult()


async def test_the_row_of_a_terminated_workflow_is_closed(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack:
        await _overdue_run(stack, terminated=True)
        assert await _reconciler(stack).sweep() == SweepResult(late=1, closed=1)
        (row,) = await stack.rows("SELECT status, outcome FROM runs")
        assert (row["status"], row["outcome"]) == ("closed", "terminated")


async def test_a_run_missing_in_temporal_is_resumed_from_its_row(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack:
        await _forget_in_temporal(stack, await _overdue_run(stack, terminated=False))
        assert await _reconciler(stack).sweep() == SweepResult(late=1, revived=1)
        async with worker(stack):
            assert await stack.until("SELECT outcome FROM runs") == "done"
        assert len(await stack.rows("SELECT text FROM timeline WHERE text = 'entered on signed_up'")) == 1


OPEN_ENDED = """
journey: open-ended
entry: {on: signed_up, again: {after: P1D}}
goal: {on: activated}
topic: onboarding
variables: {pings: int}
start: waiting
states:
  waiting:
    do: [{task: call, owner: csm}, {set: {pings: "0"}}]
    on: {ping: {do: [{set: {pings: journey.pings + 1}}]}}
"""
PINGS = "SELECT (memory->'variables'->>'pings')::int FROM runs"


async def _forget_in_temporal(stack: LiveStack, identity: str) -> str:
    """Rename a run so that Temporal has no workflow for it, as after restoring an older database; its new id."""
    await stack.client.get_workflow_handle(identity).terminate()
    async with stack.database.transaction() as connection:
        for table in ("UPDATE runs SET id = id || '0'", "UPDATE timeline SET run = run || '0'"):
            await execute(connection, sql(table))
        await execute(connection, sql("UPDATE tasks SET run = run || '0'"))
        await execute(connection, sql("UPDATE events SET message_id = replace(message_id, '!', '0!')"))
        await execute(
            connection, sql("UPDATE outbox SET event_id = replace(event_id, '!', '0!'), target = target || '0'")
        )
    return f"{identity}0"


async def _pinged_run(stack: LiveStack) -> str:
    await stack.publish(OPEN_ENDED)
    await stack.accept(stack.track("ada", "signed_up"))
    identity = str(await stack.until("SELECT id FROM runs WHERE state = 'waiting'"))
    await stack.client.get_workflow_handle(identity).signal("ping")
    await stack.until(PINGS, lambda n: n == 1)
    return identity


async def test_a_missing_run_without_a_timer_is_resumed_and_decides_undecided_signals(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with (
        stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack,
        running_relay(stack),
    ):
        async with worker(stack):
            identity = await _pinged_run(stack)
        await stack.accept(stack.track("ada", "ping"))
        await stack.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
        await _forget_in_temporal(stack, identity)
        assert await _reconciler(stack).sweep() == SweepResult(revived=1)
        async with worker(stack):
            await stack.until(PINGS, lambda n: n == 2)
            assert await _reconciler(stack).sweep() == SweepResult()


async def test_an_event_starts_a_missing_workflow_from_its_row_and_new_plain_signals_count(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with (
        stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack,
        running_relay(stack),
        worker(stack),
    ):
        identity = await _forget_in_temporal(stack, await _pinged_run(stack))
        await stack.accept(stack.track("ada", "ping"))
        await stack.until(PINGS, lambda n: n == 2)
        await stack.client.get_workflow_handle(identity).signal("ping")
        await stack.until(PINGS, lambda n: n == 3)
        assert len(await stack.rows("SELECT * FROM events WHERE source = 'temporal'")) == 2


async def test_a_paused_run_missing_in_temporal_is_resumed_as_paused(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with (
        stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack,
        running_relay(stack),
        worker(stack),
    ):
        await stack.publish(JOURNEY.replace("PT1S", "PT20M"))
        await stack.accept(stack.track("ada", "signed_up"))
        identity = str(await stack.until("SELECT id FROM runs WHERE state = 'waiting'"))
        await stack.client.get_workflow_handle(identity).execute_update(wire.UPDATE_PAUSE, {"by": "ops"})
        identity = await _forget_in_temporal(stack, identity)
        assert await _reconciler(stack).sweep() == SweepResult(revived=1)
        handle = stack.client.get_workflow_handle(identity)
        assert await handle.execute_update(wire.UPDATE_RESUME, {"by": "ops"}) == "running"


async def test_an_accepted_run_that_never_started_is_started(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack:
        await stack.publish(OPEN_ENDED)
        await stack.accept(stack.track("ada", "signed_up"))
        async with stack.database.transaction() as connection:  # as if its signal was lost with Temporal's database
            await execute(connection, sql("UPDATE outbox SET delivered_at = now()"))
        assert await _reconciler(stack).sweep() == SweepResult(revived=1)
        async with worker(stack):
            await stack.until("SELECT state FROM runs", lambda state: state == "waiting")


async def test_closing_a_row_withdraws_its_tasks_and_deferred_messages(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with (
        stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack,
        running_relay(stack),
        worker(stack),
    ):
        identity = await _pinged_run(stack)
        async with stack.database.transaction() as connection:
            await execute(connection, DEFERRED, run=identity)
        await stack.client.get_workflow_handle(identity).terminate()
        assert await _reconciler(stack).sweep() == SweepResult(closed=1)
        (row,) = await stack.rows("SELECT status, ended_at > now() - interval '1 minute' AS now FROM runs")
        assert tuple(row.values()) == ("closed", True)
        assert [row["status"] for row in await stack.rows("SELECT status FROM tasks")] == ["withdrawn"]
        assert [row["status"] for row in await stack.rows("SELECT status FROM messages")] == ["withdrawn"]
        await stack.accept(stack.track("ada", "signed_up"))
        assert len(await stack.rows("SELECT * FROM runs")) == 1, "again: {after: P1D} counts from now"


DEFERRED = sql(
    """
    INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority,
      at, status, due_at, decided_at)
    SELECT 'm', id, 1, subject_key, subject_key, journey, 'waiting', 1, 'send:x', 'x', '[]', 'lifecycle', now(), 'deferred',
      now() + interval '1 day', now() FROM runs WHERE id = :run
    """
)


async def test_a_person_with_an_overdue_message_and_no_outreach_is_woken(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    """The outreach and its signal were lost with Temporal's database."""
    async with (
        stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack,
        running_relay(stack),
        worker(stack),
    ):
        identity = await _pinged_run(stack)
        async with stack.database.transaction() as connection:
            await execute(connection, DEFERRED, run=identity)
        assert await _reconciler(stack).sweep() == SweepResult(), "it is due tomorrow"
        async with stack.database.transaction() as connection:
            await execute(connection, sql("UPDATE messages SET due_at = now() - interval '1 second'"))
        assert await _reconciler(stack).sweep() == SweepResult(woken=1)
        await stack.until("SELECT count(*) FROM messages WHERE status = 'withheld'", lambda n: n == 1)
        assert await _reconciler(stack).sweep() == SweepResult()


async def test_forgotten_messages_are_found_by_an_expired_lease_or_the_persons_test_clock(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack:
        await stack.publish(OPEN_ENDED)
        await stack.accept(stack.track("ada", "signed_up"))
        async with stack.database.transaction() as connection:
            await execute(connection, sql("UPDATE outbox SET delivered_at = now()"))
            identity = (await fetch_all(connection, sql("SELECT id FROM runs")))[0]["id"]
            await execute(connection, DEFERRED, run=identity)
            await execute(
                connection, sql("UPDATE messages SET status = 'sending', lease_until = now() + interval '1 day'")
            )
        late = timedelta(minutes=45)
        async with stack.database.transaction() as connection:
            assert await people_with_forgotten_messages(connection, late, "", 10) == []
            await execute(connection, sql("UPDATE messages SET lease_until = now() - interval '1 hour'"))
            (person,) = await people_with_forgotten_messages(connection, late, "", 10)
            assert await people_with_forgotten_messages(connection, late, person, 10) == [], "the next page"
            await execute(
                connection, sql("UPDATE messages SET status = 'deferred', due_at = now() + interval '20 days'")
            )
            assert await people_with_forgotten_messages(connection, late, "", 10) == []
            await execute(connection, sql("UPDATE messages SET due_at = now() - interval '20 days'"))
            assert await people_with_forgotten_messages(connection, late, "", 10) == [person]
            await execute(connection, sql("UPDATE messages SET clock = 'demo'"))
            assert await people_with_forgotten_messages(connection, late, "", 10) == [], (
                "their clock's driver wakes them"
            )


async def test_only_one_process_sweeps_at_a_time(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack:
        async with stack.database.reading() as connection:
            assert await take_lock(connection, Lock.SWEEP)
            assert await _reconciler(stack).sweep() is None
            assert await release_lock(connection, Lock.SWEEP)
        assert await _reconciler(stack).sweep() == SweepResult()


class WatchedRuns(EndedRuns):
    """Counts open transactions while Temporal is queried, and then fails."""

    seen: tuple[int, ...] = ()

    async def described(self, run: str) -> None:
        async with self._database.reading() as connection:
            rows = await fetch_all(connection, IDLE)
        self.seen = (*self.seen, rows[0]["idle"])
        raise ConnectionError("Temporal is away")


class UnreachableSignals(WorkflowSignals):
    """Signals to a Temporal that does not answer."""

    async def is_reachable(self) -> bool:
        return False


IDLE = sql(
    "SELECT count(*) AS idle FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
)


async def test_a_sweep_holds_no_transaction_while_it_queries_temporal_and_is_retried_soon(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with (
        stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack,
        running_relay(stack),
        worker(stack),
    ):
        await stack.publish(OPEN_ENDED)
        await stack.accept(*(stack.track(f"user{n}", "signed_up") for n in range(10)))
        await stack.until("SELECT count(*) FROM runs WHERE state = 'waiting'", lambda n: n == 10)
        await stack.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
        ordinary = _reconciler(stack)
        signals = UnreachableSignals(stack.client, stack.settings.task_queue)
        reconciler, stop = Reconciler(stack.database, stack.client, signals, late=timedelta(0)), asyncio.Event()
        reconciler.ended = watching = WatchedRuns(stack.database, stack.client)
        task = asyncio.create_task(reconciler.run(stop, retry=0.05))

        async def query_count() -> int:
            return len(watching.seen)

        await until(query_count, lambda times: times > 12, timeout=10)
        stop.set()
        await task
        assert set(watching.seen) == {0}
        assert await ordinary.sweep() == SweepResult(), "an interrupted sweep blocks no other"
