"""Who somebody is: visitors become users, users stay themselves, and nothing is lost on the way (U2)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from journeys.events.segment import Incoming
from tests.support.live_stack import Living, living

JOURNEY = """
journey: looking
entry: {on: looked, again: never}
exit: [{on: bought}]
start: around
states: {around: {}}
"""


@pytest_asyncio.fixture
async def house(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[Living]:
    async with living(database_url, temporal_address, task_queue, tmp_path) as found:
        await found.publish(JOURNEY)
        yield found


def call(number: int, name: str, kind: Any = "track", **who: Any) -> Incoming:
    return Incoming(kind, f"id-{number}", name, **who)


async def people(house: Living) -> list[str]:
    found = await house.rows("SELECT key FROM subjects WHERE merged_into IS NULL")
    return [row["key"] for row in found]


async def test_U2_a_visitors_run_follows_them_when_they_sign_up(house: Living) -> None:
    await house.accept(call(1, "looked", anonymous_id="v"))
    await house.accept(
        call(2, "identify", "identify", anonymous_id="v", user_id="ada", traits={"email": "a@x.example"})
    )
    await house.accept(call(3, "bought", user_id="ada"))
    assert await house.until("SELECT outcome FROM runs") == "exited"
    assert len(await people(house)) == 1


async def test_U2_a_known_user_on_another_device_takes_its_visitor_and_their_runs_along(house: Living) -> None:
    await house.accept(call(1, "identify", "identify", user_id="ada", traits={"plan": "team"}))
    await house.accept(call(2, "looked", anonymous_id="phone"))
    await house.accept(call(3, "identify", "identify", user_id="ada", anonymous_id="phone", traits={}))
    assert len(await people(house)) == 1
    await house.accept(call(4, "bought", user_id="ada"))
    assert await house.until("SELECT outcome FROM runs") == "exited"


async def test_U2_two_known_users_on_one_device_stay_two(house: Living) -> None:
    await house.accept(call(1, "looked", user_id="ada", anonymous_id="shared"))
    await house.accept(call(2, "looked", user_id="bob", anonymous_id="shared"))
    assert len(await people(house)) == 2
    assert [row["n"] for row in await house.rows("SELECT count(*) AS n FROM runs GROUP BY subject_key")] == [1, 1]


async def test_one_batch_may_name_the_same_new_person_many_times(house: Living) -> None:
    calls = [call(n, "looked", user_id="ada", anonymous_id="v") for n in range(5)]
    calls += [call(9, "looked", anonymous_id="v")]
    assert (await house.accept(*calls)).accepted == 6
    assert len(await people(house)) == 1
