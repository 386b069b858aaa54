"""Instants of accepted events: in the order in which events enter a lane, however long they waited (A6)."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

from journeys.events.inbound import InboundEvent
from store.database import fetch_one, sql
from store.people.subjects import lock_subjects
from tests.support.live_stack import live_stack

JOURNEY = """
journey: looking
entry: {on: looked, again: never}
start: around
states: {around: {}}
"""
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_an_event_that_waited_for_its_lane_is_accepted_at_the_end_of_the_wait(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    """Else what came after it, and entered the lane before it, would have the later instant of the two."""
    async with live_stack(database_url, temporal_address, task_queue, tmp_path) as stack:
        await stack.publish(JOURNEY)
        await stack.accept(InboundEvent("identify", "m1", "identify", user_id="ada"))
        (ada,) = await stack.rows("SELECT key FROM subjects")
        async with stack.database.transaction() as connection:
            await lock_subjects(connection, [ada["key"]])
            waiting = asyncio.create_task(stack.accept(InboundEvent("track", "m2", "looked", user_id="ada")))
            await stack.until(_WAITING, lambda waiters: waiters == 1)
            row = await fetch_one(connection, sql("SELECT clock_timestamp() AS now"))
            assert row is not None
            waited_until: datetime = row["now"]
        await waiting
        (event,) = await stack.rows("SELECT at FROM events WHERE message_id = 'm2'")
        assert event["at"] >= waited_until
