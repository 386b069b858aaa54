"""What can never be delivered is parked with its reason, its lane goes on, and a replay delivers it late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from journeys.protocol import wire
from store.database import execute, sql
from store.definitions.registry import SignalIndex
from store.outbox.replay import NotReplayable, replay_parked
from tests.support.live_stack import LiveStack
from tests.support.worker_parts import running_relay, stack_without_workers, worker
from worker.loops.parked_rows import replay_readable
from worker.loops.reconciliation import Reconciler
from worker.relay.signals import WorkflowSignals

JOURNEY = """
journey: pinged
entry: {on: signed_up, again: never}
topic: onboarding
variables: {pings: int}
start: waiting
states:
  waiting:
    do: [{set: {pings: "0"}}]
    on: {ping: {do: [{set: {pings: journey.pings + 1}}]}}
"""
OTHER = JOURNEY.replace("journey: pinged", "journey: other")
PINGS = "SELECT (memory->'variables'->>'pings')::int FROM runs WHERE journey = :journey"
WAITING = "SELECT count(*) FROM outbox WHERE delivered_at IS NULL"


@pytest_asyncio.fixture
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with (
        stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack,
        worker(stack),
    ):
        yield stack


async def _change(stack: LiveStack, statement: str, **values: Any) -> None:
    async with stack.database.transaction() as connection:
        await execute(connection, sql(statement), **values)


async def _parked(stack: LiveStack) -> list[dict[str, Any]]:
    return [dict(row) for row in await stack.rows("SELECT * FROM parked ORDER BY id")]


async def _until_pings(stack: LiveStack, journey: str, pings: int) -> None:
    await stack.until(PINGS, lambda n: n == pings, journey=journey)


async def test_A1_a_run_with_an_impossible_id_is_parked_and_the_others_of_its_lane_get_their_events(
    stack: LiveStack,
) -> None:
    """Runs that were opened before ids had a limit."""
    for journey in (JOURNEY, OTHER):
        await stack.publish(journey)
    await stack.accept(stack.track("ada", "signed_up"))
    await _change(stack, "UPDATE runs SET id = id || repeat('x', 1000) WHERE journey = 'other'")
    async with running_relay(stack):
        await _until_pings(stack, "pinged", 0)
        await stack.accept(stack.track("ada", "ping"))
        await _until_pings(stack, "pinged", 1)
        await stack.until(WAITING, lambda n: n == 0)
    opening, ping = await _parked(stack)
    assert (opening["code"], opening["opens"], opening["name"]) == ("refused", True, "signed_up")
    assert "Temporal refuses it" in opening["reason"]
    assert (ping["opens"], ping["name"]) == (False, "ping")
    assert await stack.rows("SELECT * FROM lanes WHERE attempts > 0") == []


async def test_A1_many_runs_that_can_never_be_compared_do_not_cut_the_sweep(stack: LiveStack) -> None:
    await stack.publish(JOURNEY)
    await stack.accept(*(stack.track(f"user{n}", "signed_up") for n in range(12)))
    await _change(stack, "UPDATE outbox SET delivered_at = now()")  # as if their signals were lost
    await _change(stack, "UPDATE runs SET id = '0' || id || repeat('x', 1000) WHERE number <= 6")
    signals = WorkflowSignals(stack.client, stack.settings.task_queue)
    swept = await Reconciler(stack.database, stack.client, signals, late=timedelta(0)).sweep()
    assert swept is not None
    assert (swept.failed, swept.revived) == (6, 6)


async def test_A1_a_replayed_row_is_decided_once_and_late(stack: LiveStack) -> None:
    await stack.publish(JOURNEY)
    async with running_relay(stack):
        await stack.accept(stack.track("ada", "signed_up"))
        await _until_pings(stack, "pinged", 0)
    await stack.accept(stack.track("ada", "ping"), stack.track("ada", "ping"))
    await _park_first_waiting(stack)
    async with running_relay(stack):
        await _until_pings(stack, "pinged", 1)
        (row,) = await _parked(stack)
        assert await replay_parked(stack.database, stack.deps.catalogue, row["id"], "dana")
        assert not await replay_parked(stack.database, stack.deps.catalogue, row["id"], "dana"), "only once"
        await _until_pings(stack, "pinged", 2)
    (row,) = await _parked(stack)
    assert (row["status"], row["settled_by"], row["replayed_seq"]) == ("replayed", "dana", row["seq"] + 2)
    (line,) = await stack.rows("SELECT text FROM timeline WHERE kind = 'late'")
    assert "comes late" in line["text"]
    assert "dana" in line["text"]


async def _park_first_waiting(stack: LiveStack) -> None:
    """Park the oldest waiting row, as a relay does whose Temporal refuses it."""
    await _change(
        stack,
        "INSERT INTO parked (recipient, seq, run, kind, name, event_id, at, data, facts, opens, code, reason) "
        "SELECT o.recipient, o.seq, r.id, o.kind, o.name, o.event_id, o.at, o.data, o.facts, false, 'refused', 'too large' "
        "FROM outbox o JOIN runs r ON r.lane = o.recipient WHERE o.delivered_at IS NULL ORDER BY o.seq LIMIT 1",
    )
    await _change(
        stack, "UPDATE outbox SET delivered_at = now() WHERE (recipient, seq) IN (SELECT recipient, seq FROM parked)"
    )


async def test_A1_a_row_of_which_no_signal_can_be_made_is_not_replayed_and_stops_no_other(stack: LiveStack) -> None:
    await stack.publish(JOURNEY)
    async with running_relay(stack):
        await stack.accept(stack.track("ada", "signed_up"), stack.track("bob", "signed_up"))
        await stack.until("SELECT count(*) FROM runs WHERE memory->'variables' IS NOT NULL", lambda n: n == 2)
    for name in ("ada", "bob"):
        await stack.accept(stack.track(name, "ping"))
        await _park_first_waiting(stack)
    broken, readable = await _parked(stack)
    await _change(stack, "UPDATE parked SET code = 'definition'")
    await _change(stack, "UPDATE parked SET data = '5' WHERE id = :id", id=broken["id"])
    with pytest.raises(NotReplayable, match="no signal can be made of it"):
        await replay_parked(stack.database, stack.deps.catalogue, broken["id"], "dana")
    assert await replay_readable(stack.database, stack.deps.catalogue, asyncio.Event()) == 1
    assert [row["status"] for row in await _parked(stack)] == ["held", "replayed"]
    assert readable["run"] != broken["run"]


async def test_A1_a_parked_row_is_not_read_by_a_timer_or_a_command_that_compares(stack: LiveStack) -> None:
    await stack.publish(JOURNEY)
    async with running_relay(stack):
        await stack.accept(stack.track("ada", "signed_up"))
        await _until_pings(stack, "pinged", 0)
    await stack.accept(stack.track("ada", "ping"))
    await _park_first_waiting(stack)
    (run,) = await stack.rows("SELECT id FROM runs")
    assert await stack.client.get_workflow_handle(run["id"]).execute_update("pause", {"by": "olga"}) == "paused"
    await _until_pings(stack, "pinged", 0)


async def _begun(stack: LiveStack, *names: str) -> None:
    await stack.publish(JOURNEY)
    async with running_relay(stack):
        await stack.accept(*(stack.track(name, "signed_up") for name in names))
        await stack.until("SELECT count(*) FROM runs WHERE memory->'variables' IS NOT NULL", lambda n: n == len(names))


async def _pause_and_resume(stack: LiveStack) -> None:
    """Two commands, which compare the lane with the run: they must not wait for what this version cannot read."""
    (run,) = await stack.rows("SELECT id FROM runs")
    handle = stack.client.get_workflow_handle(run["id"])
    async with asyncio.timeout(20):
        assert await handle.execute_update("pause", {"by": "olga"}) == "paused"
        assert await handle.execute_update("resume", {"by": "olga"}) == "running"


async def _check_parked_and_replayed(stack: LiveStack, steps: int) -> None:
    """A `ping` of a newer version is held without a loop, what follows is decided, and the code replays it."""
    await _pause_and_resume(stack)
    (row,) = await _parked(stack)
    assert (row["code"], row["status"], row["opens"]) == ("version", "held", False)
    assert await stack.rows("SELECT * FROM dead_letters") == []
    (run,) = await stack.rows("SELECT step FROM runs")
    assert run["step"] <= steps
    async with running_relay(stack):
        await stack.accept(stack.track("ada", "ping"))
        await _until_pings(stack, "pinged", 1)
        await _change(stack, "UPDATE parked SET kind = 'signal'")  # for a process that has the code
        assert await replay_readable(stack.database, stack.deps.catalogue, asyncio.Event()) == 1
        await _until_pings(stack, "pinged", 2)


async def test_A5_a_row_of_a_newer_version_is_parked_until_the_code_is_there(stack: LiveStack) -> None:
    await _begun(stack, "ada")
    await stack.accept(stack.track("ada", "ping"))
    await _change(stack, "UPDATE outbox SET kind = 'teleported' WHERE name = 'ping'")
    await _pause_and_resume(stack)  # also before a relay has seen it
    async with running_relay(stack):
        await stack.until(WAITING, lambda n: n == 0)
    assert await replay_readable(stack.database, stack.deps.catalogue, asyncio.Event()) == 0
    await _check_parked_and_replayed(stack, steps=5)


async def test_A5_an_envelope_of_a_newer_relay_is_parked_until_the_code_is_there(stack: LiveStack) -> None:
    await _begun(stack, "ada")
    await stack.accept(stack.track("ada", "ping"))
    (run,) = await stack.rows("SELECT id FROM runs")
    (row,) = await stack.rows("SELECT * FROM outbox WHERE name = 'ping'")
    await _change(stack, "UPDATE outbox SET delivered_at = now()")
    newer = {"id": "x", "lane": row["recipient"], "seq": row["seq"], "at": row["at"].isoformat(), "urgency": 3}
    for _ in range(2):  # delivery is at least once
        await stack.client.get_workflow_handle(run["id"]).signal(wire.SIGNAL_EVENT, newer)
    await stack.until("SELECT count(*) FROM parked", lambda n: n == 1)
    await _check_parked_and_replayed(stack, steps=6)


async def test_A5_a_newer_envelope_without_a_row_is_a_dead_letter(stack: LiveStack) -> None:
    await _begun(stack, "ada")
    (run,) = await stack.rows("SELECT id, lane FROM runs")
    newer = {"id": "x", "lane": run["lane"], "seq": 4711, "at": "2026-01-01T00:00:00+00:00", "v": 99}
    await stack.client.get_workflow_handle(run["id"]).signal(wire.SIGNAL_EVENT, newer)
    await stack.until("SELECT count(*) FROM dead_letters", lambda n: n == 1)
    assert await _parked(stack) == []


async def test_A5_an_opening_of_a_newer_version_parks_what_follows_and_opens_the_run_later(stack: LiveStack) -> None:
    await stack.publish(JOURNEY)
    await stack.accept(stack.track("ada", "signed_up"), stack.track("ada", "ping"))
    await _change(stack, "UPDATE outbox SET kind = 'teleported' WHERE name = 'signed_up'")
    async with running_relay(stack):
        await stack.until(WAITING, lambda n: n == 0)
        await stack.accept(stack.track("ada", "ping"))
        await stack.until(WAITING, lambda n: n == 0)
        assert [(row["code"], row["opens"]) for row in await _parked(stack)] == [
            ("version", True), ("version", False), ("version", False),
        ]  # fmt: skip
        await _change(stack, "UPDATE parked SET kind = 'signal'")
        assert await replay_readable(stack.database, stack.deps.catalogue, asyncio.Event()) == 3
        await _until_pings(stack, "pinged", 2)


async def test_A5_what_follows_a_discarded_opening_is_not_replayed_again_and_again(stack: LiveStack) -> None:
    await stack.publish(JOURNEY)
    await stack.accept(stack.track("ada", "signed_up"), stack.track("ada", "ping"))
    await _change(stack, "UPDATE outbox SET kind = 'teleported' WHERE name = 'signed_up'")
    async with running_relay(stack):
        await stack.until(WAITING, lambda n: n == 0)
        await _change(stack, "UPDATE parked SET status = 'discarded' WHERE opens")
        assert await replay_readable(stack.database, stack.deps.catalogue, asyncio.Event()) == 0
        await stack.accept(stack.track("ada", "ping"))
        await stack.until(WAITING, lambda n: n == 0)
    assert len(await _parked(stack)) == 3


async def test_A5_an_unreadable_definition_parks_its_rows_until_the_code_is_there(stack: LiveStack) -> None:
    for journey in (JOURNEY, OTHER):
        await stack.publish(journey)
    await stack.accept(stack.track("ada", "signed_up"))
    artifact = "SELECT artifact FROM definitions WHERE journey = 'other'"
    (kept,) = await stack.rows(artifact)
    await _change(stack, "UPDATE definitions SET artifact = '{\"from\": \"a newer version\"}' WHERE journey = 'other'")
    stack.deps.catalogue.loaded_charts.clear()
    stack.deps.catalogue.index = SignalIndex()  # of a process that begins now
    async with running_relay(stack):
        await stack.accept(stack.track("ada", "ping"))
        await _until_pings(stack, "pinged", 1)
        await stack.until(WAITING, lambda n: n == 0)
        rows = await _parked(stack)
        assert [(row["code"], row["opens"]) for row in rows] == [("definition", True), ("definition", False)]
        with pytest.raises(NotReplayable, match="cannot read the definition"):
            await replay_parked(stack.database, stack.deps.catalogue, rows[0]["id"], "dana")
        await _change(stack, "UPDATE definitions SET artifact = :kept WHERE journey = 'other'", kept=kept["artifact"])
        stack.deps.catalogue.loaded_faults.clear()  # of a process that has the code
        with pytest.raises(NotReplayable, match="replay it first"):
            await replay_parked(stack.database, stack.deps.catalogue, rows[1]["id"], "dana")
        assert await replay_readable(stack.database, stack.deps.catalogue, asyncio.Event()) == 2
        await _until_pings(stack, "other", 1)
