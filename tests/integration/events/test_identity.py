"""Who somebody is: visitors become users, users stay themselves, and nothing is lost on the way (U2)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from journeys.events.inbound import InboundEvent
from tests.support.live_stack import Living, living

JOURNEY = """
journey: looking
entry: {on: looked, again: never}
exit: [{on: bought}]
start: around
states: {around: {}}
"""


@pytest_asyncio.fixture
async def deps(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[Living]:
    async with living(database_url, temporal_address, task_queue, tmp_path) as found:
        await found.publish(JOURNEY)
        yield found


def call(number: int, name: str, kind: Any = "track", **who: Any) -> InboundEvent:
    return InboundEvent(kind, f"id-{number}", name, **who)


async def people(deps: Living) -> list[str]:
    found = await deps.rows("SELECT key FROM subjects WHERE merged_into IS NULL")
    return [row["key"] for row in found]


async def test_U2_a_visitors_run_follows_them_when_they_sign_up(deps: Living) -> None:
    await deps.accept(call(1, "looked", anonymous_id="v"))
    await deps.accept(call(2, "identify", "identify", anonymous_id="v", user_id="ada", traits={"email": "a@x.example"}))
    await deps.accept(call(3, "bought", user_id="ada"))
    assert await deps.until("SELECT outcome FROM runs") == "exited"
    assert len(await people(deps)) == 1


async def test_U2_a_known_user_on_another_device_takes_its_visitor_and_their_runs_along(deps: Living) -> None:
    await deps.accept(call(1, "identify", "identify", user_id="ada", traits={"plan": "team"}))
    await deps.accept(call(2, "looked", anonymous_id="phone"))
    await deps.accept(call(3, "identify", "identify", user_id="ada", anonymous_id="phone", traits={}))
    assert len(await people(deps)) == 1
    await deps.accept(call(4, "bought", user_id="ada"))
    assert await deps.until("SELECT outcome FROM runs") == "exited"


async def test_U2_two_known_users_on_one_device_stay_two(deps: Living) -> None:
    await deps.accept(call(1, "looked", user_id="ada", anonymous_id="shared"))
    await deps.accept(call(2, "looked", user_id="bob", anonymous_id="shared"))
    assert len(await people(deps)) == 2
    assert [row["n"] for row in await deps.rows("SELECT count(*) AS n FROM runs GROUP BY subject_key")] == [1, 1]


async def test_one_batch_may_name_the_same_new_person_many_times(deps: Living) -> None:
    calls = [call(n, "looked", user_id="ada", anonymous_id="v") for n in range(5)]
    calls += [call(9, "looked", anonymous_id="v")]
    assert (await deps.accept(*calls)).accepted == 6
    assert len(await people(deps)) == 1
