"""A play: a journey that a person starts by hand runs as if its entry event had come (P4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from store.events import plays
from store.reads import people as queries
from tests.support.live_stack import LiveStack, live_stack

JOURNEY = """
journey: rescue
entry: {on: order_refunded, when: event.total > 100.0, again: always}
topic: support
start: reading
variables: {total: double}
states:
  reading: {do: [{set: {total: event.total}}, {task: call, owner: dana}], on: {order_completed: done}}
  done: {final: rescued}
"""
OTHER = """
journey: other
entry: {on: order_refunded, again: always}
start: here
states: {here: {}}
"""
TYPES = {"event.order_refunded.total": "double"}


@pytest_asyncio.fixture
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path) as stack:
        await stack.publish(JOURNEY, TYPES)
        await stack.publish(OTHER)
        await stack.accept(stack.identify("ada", plan="team"))
        yield stack


async def start(stack: LiveStack, **data: object) -> str:
    async with stack.database.reading() as connection:
        ada = await queries.find_subject(connection, "user", "ada")
    assert ada is not None
    return await plays.start_play(
        stack.database, stack.deps.catalogue, ada, "rescue", by="dana", why="they wrote to me", data=data
    )


async def test_P4_a_play_uses_its_data_and_opens_no_other_journey(stack: LiveStack) -> None:
    run = await start(stack, total=20.0)
    await stack.until("SELECT count(*) FROM tasks", lambda n: n == 1)
    (row,) = await stack.rows("SELECT id, journey, state, memory->'variables'->>'total' AS total FROM runs")
    assert dict(row) == {"id": run, "journey": "rescue", "state": "reading", "total": "20.0"}
    lines = await stack.rows("SELECT text FROM timeline ORDER BY step, n LIMIT 1")
    assert lines[0]["text"] == "entered on play:rescue"


async def test_P4_a_play_follows_the_re_entry_rule_by_accepted_events(stack: LiveStack) -> None:
    first = await start(stack)
    with pytest.raises(plays.MayNotEnter, match="a run is open"):
        await start(stack)
    await stack.accept(stack.track("ada", "order_completed"))
    second = await start(stack)
    assert (first.rpartition("/")[2], second.rpartition("/")[2]) == ("1", "2")
    await stack.until("SELECT outcome FROM runs WHERE epoch = 1", lambda outcome: outcome == "rescued")
