"""Entry is decided on accepted events, whether they are delivered or not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest_asyncio

from tests.support.live_stack import LiveStack, live_stack

JOURNEY = """
journey: visits
entry: {on: opened, again: always}
exit: [{on: closed}]
start: inside
states:
  inside: {after: {PT30M: over}}
  over: {final: finished}
"""


@pytest_asyncio.fixture
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    """A stack without a relay, so nothing is delivered."""
    async with live_stack(database_url, temporal_address, task_queue, tmp_path, relaying=False) as stack:
        await stack.publish(JOURNEY)
        yield stack


async def epochs(stack: LiveStack) -> list[int]:
    return [row["epoch"] for row in await stack.rows("SELECT epoch FROM runs ORDER BY epoch")]


async def test_an_open_run_prevents_re_entry(stack: LiveStack) -> None:
    await stack.accept(stack.track("ada", "opened"), stack.track("ada", "opened"))
    assert await epochs(stack) == [1]


async def test_an_accepted_exit_allows_re_entry_before_it_is_delivered(stack: LiveStack) -> None:
    await stack.accept(stack.track("ada", "opened"))
    await stack.accept(stack.track("ada", "closed"), stack.track("ada", "opened"))
    assert await epochs(stack) == [1, 2]


async def test_an_overdue_timer_allows_re_entry_before_it_fires(stack: LiveStack) -> None:
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    await stack.accept(stack.track("ada", "opened", at=hour_ago))
    await stack.accept(stack.track("ada", "opened"))
    assert await epochs(stack) == [1, 2]


async def test_an_event_accepted_twice_is_counted_once(stack: LiveStack) -> None:
    call = stack.track("ada", "opened")
    first, second = await stack.accept(call, call), await stack.accept(call)
    assert (first.accepted, first.duplicates, second.duplicates) == (1, 1, 1)
