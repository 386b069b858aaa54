"""A journey that a person starts by hand runs as if its entry had come (P4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from store.events import plays
from store.reads import people as queries
from tests.support.live_stack import Living, living

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
async def deps(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[Living]:
    async with living(database_url, temporal_address, task_queue, tmp_path) as found:
        await found.publish(JOURNEY, TYPES)
        await found.publish(OTHER)
        await found.accept(found.identify("ada", plan="team"))
        yield found


async def start(deps: Living, **data: object) -> str:
    async with deps.database.reading() as connection:
        ada = await queries.find_subject(connection, "user", "ada")
    assert ada is not None
    return await plays.start_play(
        deps.database, deps.deps.catalogue, ada, "rescue", by="dana", why="they wrote to me", data=data
    )


async def test_P4_a_play_lives_with_the_data_it_was_given_and_opens_nothing_else(deps: Living) -> None:
    run = await start(deps, total=20.0)
    await deps.until("SELECT count(*) FROM tasks", lambda n: n == 1)
    (found,) = await deps.rows("SELECT id, journey, state, memory->'variables'->>'total' AS total FROM runs")
    assert dict(found) == {"id": run, "journey": "rescue", "state": "reading", "total": "20.0"}
    lines = await deps.rows("SELECT text FROM timeline ORDER BY step, n LIMIT 1")
    assert lines[0]["text"] == "entered on play:rescue"


async def test_P4_a_play_follows_re_entry_by_what_was_accepted_whatever_has_been_decided(deps: Living) -> None:
    first = await start(deps)
    with pytest.raises(plays.MayNotEnter, match="a run is open"):
        await start(deps)
    await deps.accept(deps.track("ada", "order_completed"))
    second = await start(deps)
    assert (first.rpartition("/")[2], second.rpartition("/")[2]) == ("1", "2")
    await deps.until("SELECT outcome FROM runs WHERE epoch = 1", lambda outcome: outcome == "rescued")
