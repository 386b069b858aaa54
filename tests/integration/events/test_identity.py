"""Identities: visitors become users with their runs, and users stay separate (U2)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from journeys.events.inbound import InboundEvent
from tests.support.live_stack import LiveStack, live_stack

JOURNEY = """
journey: looking
entry: {on: looked, again: never}
exit: [{on: bought}]
start: around
states: {around: {}}
"""


@pytest_asyncio.fixture
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path) as stack:
        await stack.publish(JOURNEY)
        yield stack


def call(number: int, name: str, kind: Any = "track", **who: Any) -> InboundEvent:
    return InboundEvent(kind, f"id-{number}", name, **who)


async def people(stack: LiveStack) -> list[str]:
    rows = await stack.rows("SELECT key FROM subjects WHERE merged_into IS NULL")
    return [row["key"] for row in rows]


async def test_U2_a_visitors_run_follows_them_when_they_sign_up(stack: LiveStack) -> None:
    await stack.accept(call(1, "looked", anonymous_id="v"))
    await stack.accept(
        call(2, "identify", "identify", anonymous_id="v", user_id="ada", traits={"email": "a@x.example"})
    )
    await stack.accept(call(3, "bought", user_id="ada"))
    assert await stack.until("SELECT outcome FROM runs") == "exited"
    assert len(await people(stack)) == 1


async def test_U2_a_known_user_on_another_device_takes_over_the_visitors_runs(stack: LiveStack) -> None:
    await stack.accept(call(1, "identify", "identify", user_id="ada", traits={"plan": "team"}))
    await stack.accept(call(2, "looked", anonymous_id="phone"))
    await stack.accept(call(3, "identify", "identify", user_id="ada", anonymous_id="phone", traits={}))
    assert len(await people(stack)) == 1
    await stack.accept(call(4, "bought", user_id="ada"))
    assert await stack.until("SELECT outcome FROM runs") == "exited"


async def test_U2_two_known_users_on_one_device_stay_two_people(stack: LiveStack) -> None:
    await stack.accept(call(1, "looked", user_id="ada", anonymous_id="shared"))
    await stack.accept(call(2, "looked", user_id="bob", anonymous_id="shared"))
    assert len(await people(stack)) == 2
    assert [row["n"] for row in await stack.rows("SELECT count(*) AS n FROM runs GROUP BY subject_key")] == [1, 1]


async def test_one_batch_may_name_the_same_new_person_many_times(stack: LiveStack) -> None:
    calls = [call(n, "looked", user_id="ada", anonymous_id="v") for n in range(5)]
    calls += [call(9, "looked", anonymous_id="v")]
    assert (await stack.accept(*calls)).accepted == 6
    assert len(await people(stack)) == 1
