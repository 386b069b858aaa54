"""Drivers of test clocks: one at a time, taken over after a crash, and blocked by one run without harm to others."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.api.enums.v1 import TaskQueueKind

from journeys.protocol import wire
from store.database import execute, sql
from store.locks import clock_lock
from store.people.test_clocks import ClockStatus, TestClock
from tests.support.forked import ForkedProcess
from tests.support.live_stack import LiveStack, live_stack, until
from tests.support.worker_parts import worker_process
from worker.clock_driver.drive import SILENCE, drive_clock
from worker.clock_driver.loop import ClockDriver
from worker.composition.loops import clock_driver

ORIGIN = datetime(2027, 1, 4, 9, 0, tzinfo=UTC)
JOURNEY = """
journey: weekly
entry: {on: signed_up, again: never}
topic: onboarding
start: waiting
states:
  waiting:
    after: {P1D: sending}
  sending:
    do: [{send: setup/first-steps, name: mail, via: [email]}]
    after: {P1D: waiting}
"""
LINES = """
    SELECT l.at, l.kind, l.about, l.text FROM timeline l JOIN runs r ON r.id = l.run
    JOIN identities i ON i.subject_key = r.lane AND i.kind = 'user_id' WHERE i.value = :who ORDER BY l.step, l.n
"""
MESSAGES = """
    SELECT m.at, m.status, m.sent_at FROM messages m
    JOIN identities i ON i.subject_key = m.recipient AND i.kind = 'user_id' WHERE i.value = :who ORDER BY m.at
"""
RUN = "SELECT id FROM runs WHERE lane = (SELECT subject_key FROM identities WHERE value = :who)"


@pytest_asyncio.fixture
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    """A worker without a driver, two people on the clock `demo`, and one on the clock `calm`."""
    async with live_stack(database_url, temporal_address, task_queue, tmp_path) as stack:
        await stack.publish(JOURNEY)
        for clock, people in {"demo": ("ada", "bob"), "calm": ("cleo",)}.items():
            await stack.create_clock(clock, ORIGIN)
            for who in people:
                await stack.accept(stack.identify(who, email=f"{who}@example.com", first_name="A"), clock=clock)
                await stack.accept(stack.track(who, "signed_up"), clock=clock)
        yield stack


def _driver(stack: LiveStack, stuck_seconds: float = 30.0) -> ClockDriver:
    async def nobody(_: Any) -> None:
        pass

    loop = clock_driver(stack.database, stack.client, stack.deps, stack.settings.task_queue, nobody)
    return ClockDriver(loop.parts, stuck_seconds)


@contextlib.asynccontextmanager
async def _driving(stack: LiveStack, stuck_seconds: float = 30.0) -> AsyncIterator[ClockDriver]:
    stop, driver = asyncio.Event(), _driver(stack, stuck_seconds)
    task = asyncio.create_task(driver.run(stop))
    try:
        yield driver
    finally:
        stop.set()
        await task


async def _passed(stack: LiveStack, instant: datetime, clock: str = "demo") -> None:
    await stack.until("SELECT now FROM clocks WHERE id = :clock", lambda now: now >= instant, clock=clock)


async def test_one_driver_at_a_time_has_a_clock(stack: LiveStack) -> None:
    driver = _driver(stack)
    await stack.advance("demo", ORIGIN + timedelta(days=3))
    async with clock_lock(stack.database, "demo", SILENCE) as held:
        assert held is not None
        assert not await drive_clock(driver.parts, "demo")
        assert await drive_clock(driver.parts, "calm"), "another clock has another lock"
    first, second = await asyncio.gather(drive_clock(driver.parts, "demo"), drive_clock(driver.parts, "demo"))
    assert (first, second) in {(True, False), (False, True)}
    assert (await stack.ready("demo")).now == ORIGIN + timedelta(days=3)


async def _life(stack: LiveStack, who: str) -> tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]:
    lines, messages = await stack.rows(LINES, who=who), await stack.rows(MESSAGES, who=who)
    return [dict(line) for line in lines], [dict(message) for message in messages]


async def test_a_driver_that_dies_anywhere_is_followed_by_another_with_the_same_result(stack: LiveStack) -> None:
    await stack.advance("calm", ORIGIN + timedelta(days=14))
    assert await drive_clock(_driver(stack).parts, "calm")
    await stack.advance("demo", ORIGIN + timedelta(days=14))
    deaths, pause = 0, 0.0
    while (await stack.rows("SELECT status FROM clocks WHERE id = 'demo'"))[0]["status"] != ClockStatus.READY:
        drive = asyncio.create_task(drive_clock(_driver(stack).parts, "demo"))
        pause += 0.03
        await asyncio.wait({drive}, timeout=pause)
        if not drive.done():
            deaths += 1
            drive.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await drive
    assert deaths > 3
    calm = await _life(stack, "cleo")
    assert len(calm[1]) == 7
    assert [await _life(stack, who) for who in ("ada", "bob")] == [calm, calm]
    assert stack.mail.count() == 3 * len(calm[1])


async def test_a_blocked_run_holds_the_clock_but_not_other_people_and_is_named_until_it_goes_on(
    stack: LiveStack,
) -> None:
    async with _driving(stack, stuck_seconds=0.5):
        await stack.ready("demo")
        (run,) = await stack.rows(RUN, who="ada")
        async with stack.database.transaction() as blocker:
            await execute(blocker, sql(f"{RUN} FOR UPDATE"), who="ada")
            await stack.advance("demo", ORIGIN + timedelta(days=5))
            stuck = await until(lambda: _clock(stack), lambda clock: clock.status is ClockStatus.STUCK)
            assert stuck.error is not None
            assert run["id"] in stuck.error
            assert stuck.now == ORIGIN + timedelta(days=1)
            moved = f"SELECT max(at) FROM ({LINES}) AS lines WHERE text LIKE '%now in sending%'"
            await stack.until(moved, lambda at: at == stuck.now, who="bob")
            assert (await stack.rows(moved, who="ada"))[0]["max"] is None
        ready = await stack.ready("demo")
        assert (ready.now, ready.error) == (ORIGIN + timedelta(days=5), None)
        assert await _life(stack, "ada") == await _life(stack, "bob")


async def test_a_new_driver_does_not_wait_for_the_worker_that_has_a_run_cached(stack: LiveStack) -> None:
    """That worker may be dead. From then on the run stays with the worker that had it last."""
    assert await drive_clock(_driver(stack).parts, "demo")
    run, second = (await stack.rows(RUN, who="ada"))[0]["id"], _driver(stack)
    began = len(await _queue_kinds(stack, run))
    for day in (1, 2, 3):
        await stack.advance("demo", ORIGIN + timedelta(days=day))
        assert await drive_clock(second.parts, "demo")
    kinds = (await _queue_kinds(stack, run))[began:]
    assert kinds == [TaskQueueKind.TASK_QUEUE_KIND_NORMAL, *[TaskQueueKind.TASK_QUEUE_KIND_STICKY] * 2]


async def _queue_kinds(stack: LiveStack, run: str) -> list[int]:
    """The kind of the queue of each workflow task of a run."""
    history = await stack.client.get_workflow_handle(run).fetch_history()
    return [
        event.workflow_task_scheduled_event_attributes.task_queue.kind
        for event in history.events
        if event.HasField("workflow_task_scheduled_event_attributes")
    ]


async def _clock(stack: LiveStack) -> TestClock:
    return (await stack.state("demo"))[0]


async def test_ticks_decide_nothing_twice_nothing_early_and_nothing_without_a_deadline(stack: LiveStack) -> None:
    async with _driving(stack):
        await stack.advance("demo", ORIGIN + timedelta(days=2))
        await stack.ready("demo")
        before, (run,) = await _life(stack, "ada"), await stack.rows(RUN, who="ada")
        handle = stack.client.get_workflow_handle(run["id"])
        for day in (1, 2, 2, 3, 3, 4):  # decided, decided twice, to come, and never a deadline
            await handle.signal(wire.SIGNAL_TICK, {"due": (ORIGIN + timedelta(days=day)).isoformat()})
        await until(lambda: handle.query(wire.QUERY_STATE), lambda state: state["inbox"] == 0)
        assert await _life(stack, "ada") == before
        await stack.advance("demo", ORIGIN + timedelta(days=4))
        await stack.ready("demo")
        assert await _life(stack, "ada") == await _life(stack, "bob"), "forged ticks change nothing later either"


# -- processes -----------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _process(stack: LiveStack) -> AsyncIterator[ForkedProcess]:
    """A whole worker in a process of its own, on the stack's database, task queue and mail sink, killed at the end."""
    async with worker_process(stack, "tests.support.impatient_worker") as process:
        try:
            yield process
        finally:
            process.kill()
            await process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
async def test_a_worker_process_that_is_killed_or_stopped_is_followed_by_another(
    stack: LiveStack, fault: signal.Signals
) -> None:
    async with _process(stack) as first:
        await stack.ready("calm", timeout=60)
        await stack.advance("demo", ORIGIN + timedelta(days=30))
        await _passed(stack, ORIGIN + timedelta(days=10))
        first.send_signal(fault)
        async with _process(stack):
            await stack.ready("demo", timeout=60)
            if fault is signal.SIGSTOP:
                first.send_signal(signal.SIGCONT)
            await stack.advance("calm", ORIGIN + timedelta(days=30))
            await stack.ready("calm", timeout=60)
    calm = await _life(stack, "cleo")
    assert len(calm[1]) == 15
    assert await _life(stack, "ada") == await _life(stack, "bob") == calm
    assert stack.mail.count() == 3 * 15
