"""End to end: an accepted event becomes a run, a decision, a message and a timeline."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support.live_stack import LiveStack, live_stack

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
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path) as stack:
        yield stack


async def test_an_accepted_event_becomes_messages_and_a_timeline(stack: LiveStack) -> None:
    await stack.publish(JOURNEY)
    await stack.accept(stack.identify("ada", email="ada@example.com", first_name="Ada"))
    await stack.accept(stack.track("ada", "signed_up"))
    await stack.until("SELECT count(*) FROM messages WHERE status = 'sent' AND channel = 'in_app'")
    await stack.accept(stack.track("ada", "setup_completed"))
    await stack.until("SELECT count(*) FROM messages WHERE status = 'sent' AND channel = 'email'")
    assert stack.mail.count() == 1
    await stack.accept(stack.track("ada", "activated"))
    assert await stack.until("SELECT outcome FROM runs") == "reached"
    lines = [row["text"] for row in await stack.rows("SELECT text FROM timeline ORDER BY step, n")]
    assert "goal reached: activated" in lines
