"""One way through the house: an accepted event becomes a durable run, a decision, a message, a row a person can read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support.live_stack import Living, living

JOURNEY = """
journey: welcome
entry: {on: signed_up, again: never}
goal: {on: activated}
topic: onboarding
start: waiting
states:
  waiting:
    do: [{send: setup/first-steps, via: [in_app]}]
    on:
      setup_completed: {do: [{send: education/first-value, via: [email]}]}
      done: over
  over: {final: finished}
"""


@pytest_asyncio.fixture
async def deps(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[Living]:
    async with living(database_url, temporal_address, task_queue, tmp_path) as found:
        yield found


async def test_an_accepted_event_becomes_a_message_and_a_row_that_explains_it(deps: Living) -> None:
    await deps.publish(JOURNEY)
    await deps.accept(deps.identify("ada", email="ada@example.com", first_name="Ada"))
    await deps.accept(deps.track("ada", "signed_up"))
    await deps.until("SELECT count(*) FROM messages WHERE status = 'sent' AND channel = 'in_app'")
    await deps.accept(deps.track("ada", "setup_completed"))
    await deps.until("SELECT count(*) FROM messages WHERE status = 'sent' AND channel = 'email'")
    assert deps.mail.count() == 1
    await deps.accept(deps.track("ada", "activated"))
    assert await deps.until("SELECT outcome FROM runs") == "reached"
    lines = [row["text"] for row in await deps.rows("SELECT text FROM timeline ORDER BY step, n")]
    assert "goal reached: activated" in lines
