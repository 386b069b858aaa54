"""The relay with one run that does not answer: other lanes do not wait, and it becomes idle afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest_asyncio
from temporalio.service import RPCError, RPCStatusCode

from journeys.language.actions import PRIORITIES
from journeys.protocol import wire
from store.database import execute, sql
from tests.support.live_stack import LiveStack, live_stack, until
from worker.relay.relay import BATCHES_AT_ONCE, COPIED_AT_ONCE, USUAL_AT_ONCE, LanePump, OutboxRelay
from worker.relay.signals import WorkflowSignals

JOURNEY = """
journey: waiting
entry: {on: signed_up, again: never}
topic: onboarding
start: here
states:
  here: {on: {done: over}}
  over: {final: finished}
"""
URGENT = (
    JOURNEY.replace("waiting", "helping")
    .replace("signed_up", "ticket_opened")
    .replace("start", "priority: urgent_support\nstart")
)
QUIET_SECONDS = 0.5
BURST = 600
"""More lanes than the relay's batches have at a time."""


class SilentSignals(WorkflowSignals):
    """Signals to which one run does not answer, like a run that is continuing as new."""

    answers: asyncio.Event
    silent = ""
    waiting = 0

    async def send_events(self, run: Mapping[str, Any], subject: str, envelopes: Sequence[wire.Envelope]) -> None:
        if run["lane"] == self.silent:
            self.waiting += 1
            await self.answers.wait()
        await super().send_events(run, subject, envelopes)


class CountingRelay(OutboxRelay):
    """A relay that counts its claims."""

    polls = 0

    async def deliver_batch(self, pump: LanePump) -> bool:
        self.polls += 1
        return await super().deliver_batch(pump)


@pytest_asyncio.fixture
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path, relaying=False) as stack:
        yield stack


async def test_a_run_that_does_not_answer_delays_no_other_lane_and_the_relay_becomes_idle(stack: LiveStack) -> None:
    await stack.publish(JOURNEY)
    relay = CountingRelay(stack.database, stack.client, stack.deps.catalogue, stack.settings.task_queue)
    relay.signals = signals = SilentSignals(stack.client, stack.settings.task_queue)
    signals.answers = asyncio.Event()
    stop = asyncio.Event()
    running = asyncio.create_task(relay.run(stop))
    for name in ("ada", "bob"):
        await stack.accept(stack.track(name, "signed_up"))
    await stack.until("SELECT count(*) FROM runs WHERE state = 'here'", lambda n: n == 2)
    signals.silent = await stack.until("SELECT subject_key FROM identities WHERE value = 'ada'")

    await stack.accept(stack.track("ada", "done"))
    await until(_value(lambda: signals.waiting), lambda held: held == 1)
    await stack.accept(stack.track("bob", "done"))
    await stack.until("SELECT count(*) FROM runs WHERE status = 'closed'", lambda n: n == 1)
    assert signals.waiting == 1, "its lane is still claimed"
    assert len(relay.usual.batches) <= BATCHES_AT_ONCE

    signals.answers.set()
    await stack.until("SELECT count(*) FROM runs WHERE status = 'closed'", lambda n: n == 2)
    await stack.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
    await until(_value(lambda: all(batch.done() for batch in relay.usual.batches)), bool)
    polls = relay.polls
    await asyncio.sleep(QUIET_SECONDS)  # the relay must not poll in this time
    assert relay.polls - polls <= 5
    stop.set()
    await running


class HeldSignals(WorkflowSignals):
    """Signals to a Temporal that answers calls for lifecycle runs late, and then refuses them."""

    answers: asyncio.Event
    held = 0

    async def _signal_with_start(self, *given: Any) -> None:
        if given[-1] >= PRIORITIES.index("lifecycle"):
            async with self._slots:
                self.held += 1
                await self.answers.wait()
                raise RPCError("too many requests", RPCStatusCode.RESOURCE_EXHAUSTED, b"")
        await super()._signal_with_start(*given)


async def test_a_burst_of_signups_delays_no_urgent_message(stack: LiveStack) -> None:
    await stack.publish(JOURNEY)
    await stack.publish(URGENT)
    relay = OutboxRelay(stack.database, stack.client, stack.deps.catalogue, stack.settings.task_queue)
    relay.signals = signals = HeldSignals(stack.client, stack.settings.task_queue)
    signals.answers = asyncio.Event()
    stop = asyncio.Event()
    running = asyncio.create_task(relay.run(stop))
    await stack.accept(*(stack.track(f"user{n}", "signed_up") for n in range(BURST)))
    await until(_value(lambda: signals.held), lambda held: held == USUAL_AT_ONCE + COPIED_AT_ONCE)

    await stack.accept(stack.track("zoe", "ticket_opened"))
    await stack.until("SELECT count(*) FROM runs WHERE journey = 'helping' AND state = 'here'", lambda n: n == 1)
    await stack.accept(stack.track("zoe", "done"))
    await stack.until("SELECT count(*) FROM runs WHERE journey = 'helping' AND status = 'closed'", lambda n: n == 1)
    assert signals.held == USUAL_AT_ONCE + COPIED_AT_ONCE, "the burst still waits for Temporal"
    (run,) = await stack.rows("SELECT id FROM runs WHERE journey = 'helping'")
    described = (await stack.client.get_workflow_handle(run["id"]).describe()).raw_description
    assert described.workflow_execution_info.priority.priority_key == 1, "its tasks are given out before others"

    stop.set()
    signals.answers.set()
    await running


class InterruptedSignals(WorkflowSignals):
    """Signals to a Temporal that is down for a while; `calls` are those that failed."""

    down = True
    calls = 0

    async def _signal_with_start(self, *given: Any) -> None:
        await self._fail_while_down()
        await super()._signal_with_start(*given)

    async def _signalled(self, *given: Any) -> bool:
        await self._fail_while_down()
        return await super()._signalled(*given)

    async def is_reachable(self) -> bool:
        return not self.down and await super().is_reachable()

    async def _fail_while_down(self) -> None:
        if self.down:
            self.calls += 1
            raise RPCError("connection refused", RPCStatusCode.UNAVAILABLE, b"")


async def test_A1_after_an_outage_of_temporal_every_lane_is_delivered_at_once(stack: LiveStack) -> None:
    """While it lasts no lane rests, and new events cause no calls: a lane may have rested for a minute before."""
    await stack.publish(JOURNEY)
    relay = OutboxRelay(stack.database, stack.client, stack.deps.catalogue, stack.settings.task_queue)
    relay.signals = signals = InterruptedSignals(stack.client, stack.settings.task_queue)
    await stack.accept(*(stack.track(f"user{n}", "signed_up") for n in range(30)))
    async with stack.database.transaction() as connection:  # one has failed for its own reason before
        await execute(
            connection,
            sql(
                "UPDATE lanes SET attempts = 9, ready_at = now() + interval '1 minute' "
                "WHERE recipient = (SELECT min(lane) FROM runs)"
            ),
        )
    stop = asyncio.Event()
    running = asyncio.create_task(relay.run(stop))
    await until(_value(lambda: relay.is_outage), bool)
    await asyncio.sleep(QUIET_SECONDS)  # a batch that had begun already ends in this time
    calls = signals.calls
    for n in range(10):
        await stack.accept(stack.track(f"late{n}", "signed_up"))
    await asyncio.sleep(QUIET_SECONDS)  # the relay must not call in this time
    assert signals.calls == calls
    assert await stack.rows("SELECT * FROM lanes WHERE attempts > 0 AND attempts <> 9") == []
    signals.down = False
    ended = asyncio.get_running_loop().time()
    await stack.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
    assert asyncio.get_running_loop().time() - ended < 30
    stop.set()
    await running


async def test_A1_an_outage_is_noticed_although_a_lane_of_the_batch_needs_no_call(stack: LiveStack) -> None:
    """The rows of a closed run leave their lane without Temporal: that says nothing of Temporal's health."""
    await stack.publish(JOURNEY)
    relay = OutboxRelay(stack.database, stack.client, stack.deps.catalogue, stack.settings.task_queue)
    relay.signals = signals = InterruptedSignals(stack.client, stack.settings.task_queue)
    await stack.accept(*(stack.track(name, "signed_up") for name in ("ada", "bob")))
    async with stack.database.transaction() as connection:
        closed = "UPDATE runs SET status = 'closed', outcome = 'exited' WHERE lane = (SELECT min(lane) FROM runs)"
        await execute(connection, sql(closed))

    assert await relay.deliver_batch(relay.usual), "the lane without a run"
    assert signals.calls == 1
    assert (relay.is_outage, relay.is_failing) == (True, True)
    assert await stack.rows("SELECT * FROM lanes WHERE attempts > 0") == []


async def test_A1_a_lane_that_needs_no_call_ends_no_rests_in_an_outage(stack: LiveStack) -> None:
    await stack.publish(JOURNEY)
    relay = OutboxRelay(stack.database, stack.client, stack.deps.catalogue, stack.settings.task_queue)
    relay.signals = InterruptedSignals(stack.client, stack.settings.task_queue)
    relay.is_failing = True
    await stack.accept(*(stack.track(name, "signed_up") for name in ("ada", "bob")))
    async with stack.database.transaction() as connection:
        closed = "UPDATE runs SET status = 'closed', outcome = 'exited' WHERE lane = (SELECT min(lane) FROM runs)"
        await execute(connection, sql(closed))
        rests = "UPDATE lanes SET attempts = 9, ready_at = now() + interval '1 hour' WHERE recipient = "
        await execute(connection, sql(f"{rests}(SELECT max(lane) FROM runs)"))

    assert await relay.deliver_batch(relay.usual), "the lane without a run"
    assert len(await stack.rows("SELECT * FROM lanes WHERE ready_at > now()")) == 1


def _value(read: Any) -> Any:
    async def value() -> Any:
        return read()

    return value
