"""The relay with one run that keeps it waiting: nobody else's lane waits with it, and afterwards it is quiet again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest_asyncio

from journeys.protocol import wire
from tests.support.live_stack import Living, living, until
from worker.relay.relay import BATCHES_AT_ONCE, OutboxRelay

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


class Busy(OutboxRelay):
    """A relay to which one run does not answer, as one that is just being continued as new."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.answers = asyncio.Event()
        self.silent = ""
        self.held = 0
        self.looked = 0

    async def deliver_batch(self) -> bool:
        self.looked += 1
        return await super().deliver_batch()

    async def _signal(self, run: Mapping[str, Any], subject: str, envelopes: list[wire.Envelope]) -> None:
        if run["lane"] == self.silent:
            self.held += 1
            await self.answers.wait()
        await super()._signal(run, subject, envelopes)


@pytest_asyncio.fixture
async def deps(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[Living]:
    async with living(database_url, temporal_address, task_queue, tmp_path, relaying=False) as found:
        yield found


async def test_a_run_that_does_not_answer_holds_up_nobody_else_and_afterwards_the_relay_is_quiet(deps: Living) -> None:
    await deps.publish(JOURNEY)
    relay = Busy(deps.database, deps.client, deps.deps.catalogue, deps.settings.task_queue)
    stop = asyncio.Event()
    running = asyncio.create_task(relay.run(stop))
    for name in ("ada", "bob"):
        await deps.accept(deps.track(name, "signed_up"))
    await deps.until("SELECT count(*) FROM runs WHERE state = 'here'", lambda n: n == 2)
    relay.silent = await deps.until("SELECT subject_key FROM identities WHERE value = 'ada'")

    await deps.accept(deps.track("ada", "done"))
    await until(_value(lambda: relay.held), lambda held: held == 1)
    await deps.accept(deps.track("bob", "done"))
    await deps.until("SELECT count(*) FROM runs WHERE status = 'closed'", lambda n: n == 1)
    assert relay.held == 1, "its lane is still claimed"
    assert len(relay.batches) <= BATCHES_AT_ONCE

    relay.answers.set()
    await deps.until("SELECT count(*) FROM runs WHERE status = 'closed'", lambda n: n == 2)
    await deps.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
    await until(_value(lambda: all(batch.done() for batch in relay.batches)), bool)
    looked = relay.looked
    await asyncio.sleep(QUIET_SECONDS)  # nothing to wait for: that nothing happens is what is looked at
    assert relay.looked - looked <= 5
    stop.set()
    await running


def _value(read: Any) -> Any:
    async def value() -> Any:
        return read()

    return value
