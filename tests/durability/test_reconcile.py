"""The reconciler: a run past its due date is woken, revived from its row, or its row is told that it has ended."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from store import sweeps
from store.database import run, sql
from tests.durability.parts import relaying, worker, workless
from tests.living import Living
from worker.reconcile import Reconciler, Sweep
from worker.relay import Relay

JOURNEY = """
journey: late
entry: {on: signed_up, again: never}
topic: onboarding
start: waiting
states:
  waiting: {after: {PT1S: done}}
  done: {final: done}
"""


def _reconciler(house: Living) -> Reconciler:
    relay = Relay(house.database, house.client, house.house.catalogue, house.settings.task_queue)
    return Reconciler(house.database, house.client, relay, late=timedelta(seconds=0))


async def _late(house: Living, terminated: bool) -> str:
    """A run whose worker is gone before its timer rings."""
    await house.publish(JOURNEY)
    async with worker(house), relaying(house):
        await house.accept(house.track("ada", "signed_up"))
        identity = str(await house.until("SELECT id FROM runs WHERE state = 'waiting'"))
        if terminated:
            await house.client.get_workflow_handle(identity).terminate()
    await house.until("SELECT next_due_at < clock_timestamp() FROM runs")
    return identity


async def test_a_run_that_sleeps_past_its_due_date_is_nudged(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as house:
        await _late(house, terminated=False)
        assert await _reconciler(house).sweep() == Sweep(late=1, nudged=1)
        async with worker(house):
            assert await house.until("SELECT outcome FROM runs") == "done"
            assert await _reconciler(house).sweep() == Sweep()


async def test_a_row_whose_workflow_was_terminated_by_hand_is_closed(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as house:
        await _late(house, terminated=True)
        assert await _reconciler(house).sweep() == Sweep(late=1, closed=1)
        (row,) = await house.rows("SELECT status, outcome FROM runs")
        assert (row["status"], row["outcome"]) == ("closed", "terminated")


async def test_a_run_that_temporal_has_forgotten_goes_on_from_its_row(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as house:
        await house.client.get_workflow_handle(await _late(house, terminated=False)).terminate()
        async with house.database.transaction() as connection:  # as after a restore: its id is unknown to Temporal
            await run(connection, sql("UPDATE runs SET id = id || '0'"))
        assert await _reconciler(house).sweep() == Sweep(late=1, revived=1)
        async with worker(house):
            assert await house.until("SELECT outcome FROM runs") == "done"
        (row,) = await house.rows("SELECT step FROM runs")
        assert row["step"] == 2


async def test_only_one_process_sweeps_at_a_time(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as house:
        async with house.database.transaction() as connection:
            assert await sweeps.alone(connection)
            assert await _reconciler(house).sweep() is None
        assert await _reconciler(house).sweep() == Sweep()
