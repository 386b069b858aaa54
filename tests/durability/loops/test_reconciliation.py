"""The reconciler: a run past its due date is woken, revived from its row, or its row is told that it has ended."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from journeys.protocol import wire
from store.database import execute, fetch_all, sql
from store.locks import Lock, release_lock, take_lock
from store.operations.reconciliation import people_with_forgotten_messages
from tests.support.live_stack import Living, until
from tests.support.worker_parts import relaying, worker, workless
from worker.loops.reconciliation import Reconciler, SweepResult
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


def _reconciler(deps: Living) -> Reconciler:
    signals = WorkflowSignals(deps.client, deps.settings.task_queue)
    return Reconciler(deps.database, deps.client, signals, late=timedelta(seconds=0))


async def _late(deps: Living, terminated: bool) -> str:
    """A run whose worker is gone before its timer rings."""
    await deps.publish(JOURNEY)
    async with worker(deps), relaying(deps):
        await deps.accept(deps.track("ada", "signed_up"))
        identity = str(await deps.until("SELECT id FROM runs WHERE state = 'waiting'"))
        if terminated:
            await deps.client.get_workflow_handle(identity).terminate()
    await deps.until("SELECT next_due_at < clock_timestamp() FROM runs")
    return identity


async def test_a_run_that_sleeps_past_its_due_date_is_nudged(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as deps:
        await _late(deps, terminated=False)
        assert await _reconciler(deps).sweep() == SweepResult(late=1, nudged=1)
        async with worker(deps):
            assert await deps.until("SELECT outcome FROM runs") == "done"
            assert await _reconciler(deps).sweep() == SweepResult()


async def test_a_row_whose_workflow_was_terminated_by_hand_is_closed(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as deps:
        await _late(deps, terminated=True)
        assert await _reconciler(deps).sweep() == SweepResult(late=1, closed=1)
        (row,) = await deps.rows("SELECT status, outcome FROM runs")
        assert (row["status"], row["outcome"]) == ("closed", "terminated")


async def test_a_run_that_temporal_has_forgotten_goes_on_from_its_row(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as deps:
        await _forgotten(deps, await _late(deps, terminated=False))
        assert await _reconciler(deps).sweep() == SweepResult(late=1, revived=1)
        async with worker(deps):
            assert await deps.until("SELECT outcome FROM runs") == "done"
        assert len(await deps.rows("SELECT text FROM timeline WHERE text = 'entered on signed_up'")) == 1


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


async def _forgotten(deps: Living, identity: str) -> str:
    """As after a restore of Temporal's database from before: it knows nothing of the run. Its new id."""
    await deps.client.get_workflow_handle(identity).terminate()
    async with deps.database.transaction() as connection:
        for table in ("UPDATE runs SET id = id || '0'", "UPDATE timeline SET run = run || '0'"):
            await execute(connection, sql(table))
        await execute(connection, sql("UPDATE tasks SET run = run || '0'"))
        await execute(connection, sql("UPDATE events SET message_id = replace(message_id, '!', '0!')"))
        await execute(
            connection, sql("UPDATE outbox SET event_id = replace(event_id, '!', '0!'), target = target || '0'")
        )
    return f"{identity}0"


async def _pinged(deps: Living) -> str:
    await deps.publish(OPEN_ENDED)
    await deps.accept(deps.track("ada", "signed_up"))
    identity = str(await deps.until("SELECT id FROM runs WHERE state = 'waiting'"))
    await deps.client.get_workflow_handle(identity).signal("ping")
    await deps.until(PINGS, lambda n: n == 1)
    return identity


async def test_a_forgotten_run_without_a_timer_is_found_and_reads_what_its_lost_workflow_had_not_decided(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as deps, relaying(deps):
        async with worker(deps):
            identity = await _pinged(deps)
        await deps.accept(deps.track("ada", "ping"))
        await deps.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
        await _forgotten(deps, identity)
        assert await _reconciler(deps).sweep() == SweepResult(revived=1)
        async with worker(deps):
            await deps.until(PINGS, lambda n: n == 2)
            assert await _reconciler(deps).sweep() == SweepResult()


async def test_an_event_that_meets_no_workflow_starts_it_from_its_row_and_a_plain_signal_is_not_taken_for_an_old_one(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as deps, relaying(deps), worker(deps):
        identity = await _forgotten(deps, await _pinged(deps))
        await deps.accept(deps.track("ada", "ping"))
        await deps.until(PINGS, lambda n: n == 2)
        await deps.client.get_workflow_handle(identity).signal("ping")
        await deps.until(PINGS, lambda n: n == 3)
        assert len(await deps.rows("SELECT * FROM events WHERE source = 'temporal'")) == 2


async def test_a_paused_run_that_temporal_has_forgotten_is_found_and_is_paused_still(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as deps, relaying(deps), worker(deps):
        await deps.publish(JOURNEY.replace("PT1S", "PT20M"))
        await deps.accept(deps.track("ada", "signed_up"))
        identity = str(await deps.until("SELECT id FROM runs WHERE state = 'waiting'"))
        await deps.client.get_workflow_handle(identity).execute_update(wire.UPDATE_PAUSE, {"by": "ops"})
        identity = await _forgotten(deps, identity)
        assert await _reconciler(deps).sweep() == SweepResult(revived=1)
        handle = deps.client.get_workflow_handle(identity)
        assert await handle.execute_update(wire.UPDATE_RESUME, {"by": "ops"}) == "running"


async def test_a_run_that_was_admitted_and_never_began_begins(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as deps:
        await deps.publish(OPEN_ENDED)
        await deps.accept(deps.track("ada", "signed_up"))
        async with deps.database.transaction() as connection:  # its signal was lost with Temporal's database
            await execute(connection, sql("UPDATE outbox SET delivered_at = now()"))
        assert await _reconciler(deps).sweep() == SweepResult(revived=1)
        async with worker(deps):
            await deps.until("SELECT state FROM runs", lambda state: state == "waiting")


async def test_a_row_that_is_closed_ends_now_and_leaves_no_task_and_no_deferred_message_open(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as deps, relaying(deps), worker(deps):
        identity = await _pinged(deps)
        async with deps.database.transaction() as connection:
            await execute(connection, DEFERRED, run=identity)
        await deps.client.get_workflow_handle(identity).terminate()
        assert await _reconciler(deps).sweep() == SweepResult(closed=1)
        (row,) = await deps.rows("SELECT status, ended_at > now() - interval '1 minute' AS now FROM runs")
        assert tuple(row.values()) == ("closed", True)
        assert [row["status"] for row in await deps.rows("SELECT status FROM tasks")] == ["withdrawn"]
        assert [row["status"] for row in await deps.rows("SELECT status FROM messages")] == ["withdrawn"]
        await deps.accept(deps.track("ada", "signed_up"))
        assert len(await deps.rows("SELECT * FROM runs")) == 1, "again: {after: P1D} counts from now"


DEFERRED = sql(
    """
    INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority,
      at, status, due_at, decided_at)
    SELECT 'm', id, 1, subject_key, subject_key, journey, 'waiting', 1, 'send:x', 'x', '[]', 'lifecycle', now(), 'deferred',
      now() + interval '1 day', now() FROM runs WHERE id = :run
    """
)


async def test_whoever_is_owed_a_message_that_nobody_decides_any_more_is_woken(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    """Their outreach is lost with Temporal's database, and so is what had started it."""
    async with workless(database_url, temporal_address, task_queue, tmp_path) as deps, relaying(deps), worker(deps):
        identity = await _pinged(deps)
        async with deps.database.transaction() as connection:
            await execute(connection, DEFERRED, run=identity)
        assert await _reconciler(deps).sweep() == SweepResult(), "it is due tomorrow"
        async with deps.database.transaction() as connection:
            await execute(connection, sql("UPDATE messages SET due_at = now() - interval '1 second'"))
        assert await _reconciler(deps).sweep() == SweepResult(woken=1)
        await deps.until("SELECT count(*) FROM messages WHERE status = 'withheld'", lambda n: n == 1)
        assert await _reconciler(deps).sweep() == SweepResult()


async def test_an_attempt_whose_lease_is_long_over_is_somebodys_again_and_a_test_clock_tells_its_own_peoples_time(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as deps:
        await deps.publish(OPEN_ENDED)
        await deps.accept(deps.track("ada", "signed_up"))
        async with deps.database.transaction() as connection:
            await execute(connection, sql("UPDATE outbox SET delivered_at = now()"))
            identity = (await fetch_all(connection, sql("SELECT id FROM runs")))[0]["id"]
            await execute(connection, DEFERRED, run=identity)
            await execute(
                connection, sql("UPDATE messages SET status = 'sending', lease_until = now() + interval '1 day'")
            )
        late = timedelta(minutes=45)
        async with deps.database.transaction() as connection:
            assert await people_with_forgotten_messages(connection, late, "", 10) == []
            await execute(connection, sql("UPDATE messages SET lease_until = now() - interval '1 hour'"))
            (person,) = await people_with_forgotten_messages(connection, late, "", 10)
            assert await people_with_forgotten_messages(connection, late, person, 10) == [], "the next page"
            await execute(
                connection, sql("UPDATE messages SET status = 'deferred', due_at = now() + interval '20 days'")
            )
            assert await people_with_forgotten_messages(connection, late, "", 10) == []
            await execute(connection, sql("UPDATE subjects SET clock = 'fast'"))
            await execute(connection, CLOCK)
            assert await people_with_forgotten_messages(connection, late, "", 10) == [person], "their month is over"


CLOCK = sql(
    """
    INSERT INTO clocks (id, origin, started_at, speed, limit_at)
    VALUES ('fast', now(), now() - interval '1 day', 1000, now() + interval '30 days')
    """
)


async def test_only_one_process_sweeps_at_a_time(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as deps:
        async with deps.database.reading() as connection:
            assert await take_lock(connection, Lock.SWEEP)
            assert await _reconciler(deps).sweep() is None
            assert await release_lock(connection, Lock.SWEEP)
        assert await _reconciler(deps).sweep() == SweepResult()


class Watching(Reconciler):
    """Notes what the database sees of a sweep while Temporal is asked."""

    seen: tuple[int, ...] = ()

    async def _described(self, run: str) -> None:
        async with self.database.reading() as connection:
            found = await fetch_all(connection, IDLE)
        self.seen = (*self.seen, found[0]["idle"])
        raise ConnectionError("Temporal is away")


IDLE = sql(
    "SELECT count(*) AS idle FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
)


async def test_a_sweep_holds_no_transaction_while_it_asks_temporal_and_is_soon_begun_again_when_it_was_cut(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as deps, relaying(deps), worker(deps):
        await deps.publish(OPEN_ENDED)
        await deps.accept(*(deps.track(f"user{n}", "signed_up") for n in range(10)))
        await deps.until("SELECT count(*) FROM runs WHERE state = 'waiting'", lambda n: n == 10)
        await deps.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
        ordinary = _reconciler(deps)
        watching, stop = Watching(deps.database, deps.client, ordinary.signals, late=timedelta(0)), asyncio.Event()
        task = asyncio.create_task(watching.run(stop, retry=0.05))

        async def asked() -> int:
            return len(watching.seen)

        await until(asked, lambda times: times > 12, patience=10)
        stop.set()
        await task
        assert set(watching.seen) == {0}
        assert await ordinary.sweep() == SweepResult(), "a cut sweep keeps nobody else out"
