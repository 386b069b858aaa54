"""Entry is decided on what was accepted, whatever has been delivered of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest_asyncio

from tests.support.live_stack import Living, living

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
async def deps(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[Living]:
    """A house whose relay never delivers anything: the greatest lag there is."""
    async with living(database_url, temporal_address, task_queue, tmp_path, relaying=False) as found:
        await found.publish(JOURNEY)
        yield found


async def epochs(deps: Living) -> list[int]:
    return [row["epoch"] for row in await deps.rows("SELECT epoch FROM runs ORDER BY epoch")]


async def test_a_run_that_is_open_keeps_its_person_out(deps: Living) -> None:
    await deps.accept(deps.track("ada", "opened"), deps.track("ada", "opened"))
    assert await epochs(deps) == [1]


async def test_an_exit_that_no_run_has_heard_yet_lets_them_in_again(deps: Living) -> None:
    await deps.accept(deps.track("ada", "opened"))
    await deps.accept(deps.track("ada", "closed"), deps.track("ada", "opened"))
    assert await epochs(deps) == [1, 2]


async def test_a_timer_that_has_not_rung_yet_lets_them_in_again(deps: Living) -> None:
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    await deps.accept(deps.track("ada", "opened", at=hour_ago))
    await deps.accept(deps.track("ada", "opened"))
    assert await epochs(deps) == [1, 2]


async def test_the_same_message_twice_is_one_event(deps: Living) -> None:
    call = deps.track("ada", "opened")
    first, second = await deps.accept(call, call), await deps.accept(call)
    assert (first.accepted, first.duplicates, second.duplicates) == (1, 1, 1)
