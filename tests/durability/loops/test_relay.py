"""The relay with one run that does not answer: other lanes do not wait, and it becomes idle afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest_asyncio

from journeys.protocol import wire
from tests.support.live_stack import LiveStack, live_stack, until
from worker.relay.relay import BATCHES_AT_ONCE, LanePump, OutboxRelay

JOURNEY = """
journey: waiting
entry: {on: signed_up, again: never}
topic: onboarding
start: here
states:
  here: {on: {done: over}}
  over: {final: finished}
"""
QUIET_SECONDS = 0.5


class RelayWithASilentRun(OutboxRelay):
    """A relay to which one run does not answer, like a run that is continuing as new."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.answers = asyncio.Event()
        self.silent = ""
        self.waiting = 0
        self.polls = 0

    async def deliver_batch(self, pump: LanePump) -> bool:
        self.polls += 1
        return await super().deliver_batch(pump)

    async def _signal(self, run: Mapping[str, Any], subject: str, envelopes: list[wire.Envelope]) -> None:
        if run["lane"] == self.silent:
            self.waiting += 1
            await self.answers.wait()
        await super()._signal(run, subject, envelopes)


@pytest_asyncio.fixture
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path, relaying=False) as stack:
        yield stack


async def test_a_run_that_does_not_answer_delays_no_other_lane_and_the_relay_becomes_idle(stack: LiveStack) -> None:
    await stack.publish(JOURNEY)
    relay = RelayWithASilentRun(stack.database, stack.client, stack.deps.catalogue, stack.settings.task_queue)
    stop = asyncio.Event()
    running = asyncio.create_task(relay.run(stop))
    for name in ("ada", "bob"):
        await stack.accept(stack.track(name, "signed_up"))
    await stack.until("SELECT count(*) FROM runs WHERE state = 'here'", lambda n: n == 2)
    relay.silent = await stack.until("SELECT subject_key FROM identities WHERE value = 'ada'")

    await stack.accept(stack.track("ada", "done"))
    await until(_value(lambda: relay.waiting), lambda held: held == 1)
    await stack.accept(stack.track("bob", "done"))
    await stack.until("SELECT count(*) FROM runs WHERE status = 'closed'", lambda n: n == 1)
    assert relay.waiting == 1, "its lane is still claimed"
    assert len(relay.own.batches) <= BATCHES_AT_ONCE

    relay.answers.set()
    await stack.until("SELECT count(*) FROM runs WHERE status = 'closed'", lambda n: n == 2)
    await stack.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
    await until(_value(lambda: all(batch.done() for batch in relay.own.batches)), bool)
    polls = relay.polls
    await asyncio.sleep(QUIET_SECONDS)  # the relay must not poll in this time
    assert relay.polls - polls <= 5
    stop.set()
    await running


def _value(read: Any) -> Any:
    async def value() -> Any:
        return read()

    return value
