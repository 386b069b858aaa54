"""Nothing that arrives can end a run or hold it up: what cannot be read becomes a row for a person to see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowHandle
from temporalio.common import RawValue

from journeys.protocol import wire
from tests.support.live_stack import Living, living
from tests.support.worker_parts import relaying, worker, workless

JOURNEY = """
journey: poisoned
entry: {on: signed_up, again: never}
goal: {on: activated}
topic: onboarding
variables: {code: string}
start: here
states:
  here:
    on: {setup_completed: there}
  there:
    on: {setup_completed: here}
"""


@pytest_asyncio.fixture
async def deps(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[Living]:
    async with living(database_url, temporal_address, task_queue, tmp_path) as found:
        yield found


async def _begun(deps: Living) -> WorkflowHandle[Any, Any]:
    await deps.publish(JOURNEY)
    await deps.accept(deps.track("ada", "signed_up"))
    run = await deps.until("SELECT id FROM runs WHERE state = 'here'")
    return deps.client.get_workflow_handle(run)


async def _lives_on(deps: Living, buried: int) -> list[str]:
    found = await deps.until("SELECT count(*) FROM dead_letters", lambda n: n >= buried)
    assert found == buried
    await deps.accept(deps.track("ada", "activated"))
    assert await deps.until("SELECT outcome FROM runs") == "reached"
    return [row["reason"] for row in await deps.rows("SELECT reason FROM dead_letters ORDER BY id")]


def _raw(data: bytes, encoding: bytes = b"json/plain") -> RawValue:
    return RawValue(Payload(metadata={"encoding": encoding}, data=data))


async def test_payloads_that_are_no_json_objects_are_buried_and_the_run_goes_on(deps: Living) -> None:
    handle = await _begun(deps)
    poison: list[Any] = [
        _raw(b"{not json"),
        _raw(b"\xff\xfe\x00", b"binary/plain"),
        _raw(b"?", b"from/elsewhere"),
        "text",
        7,
        [1],
    ]
    for value in poison:
        await handle.signal("setup_completed", value)
    await _lives_on(deps, len(poison))


async def test_unknown_and_reserved_names_are_buried_with_what_came(deps: Living) -> None:
    handle = await _begun(deps)
    await handle.signal("no_such_signal", {"a": 1})
    await handle.signal("tenure.secret", {"a": 1})
    await handle.signal("nul\x00name", {"a": 1})
    assert len(await _lives_on(deps, 3)) == 3
    rows = await deps.rows("SELECT name, payload FROM dead_letters ORDER BY id")
    assert rows[0]["name"] == "no_such_signal"
    assert rows[0]["payload"] == '{"a":1}'


GOOD = {"id": "x", "lane": "u_1", "seq": 9, "at": "2026-01-01T00:00:00+00:00", "name": "setup_completed"}
FORGED: dict[str, Any] = {
    "no object": "hello",
    "nothing in it": {},
    "an unknown field": {**GOOD, "colour": "red"},
    "a newer version": {**GOOD, "v": 99},
    "no instant": {**GOOD, "at": "yesterday"},
    "a lane that cannot be a key": {**GOOD, "lane": {}},
    "a number that is none": {**GOOD, "seq": "9"},
    "data that is a list": {**GOOD, "data": [1]},
    "facts that are no scopes": {**GOOD, "facts": {"profile": 3}},
    "a kind nobody knows": {**GOOD, "kind": "surprise"},
    "other lanes as a list": {**GOOD, "seen": ["u_2"]},
}


async def test_forged_envelopes_are_buried_whatever_is_wrong_with_them(deps: Living) -> None:
    handle = await _begun(deps)
    for value in FORGED.values():
        await handle.signal(wire.SIGNAL_EVENT, value)
    await _lives_on(deps, len(FORGED))


UNSTORABLE = {
    "an integer beyond 64 bits": {"n": 10**30},
    "a NUL": {"text": "a\x00b"},
    "more than an event may be": {"text": "a" * 40_000},
}


@pytest.mark.parametrize("data", UNSTORABLE.values(), ids=list(UNSTORABLE))
async def test_plain_signals_that_no_store_can_take_are_buried(deps: Living, data: dict[str, Any]) -> None:
    handle = await _begun(deps)
    await handle.signal("setup_completed", data)
    await _lives_on(deps, 1)


async def test_a_plain_signal_is_stored_with_its_source_and_decided_and_its_id_counts_once(deps: Living) -> None:
    handle = await _begun(deps)
    for _ in range(3):
        await handle.signal("setup_completed", {"id": "import-7"})
    await handle.signal("setup_completed", {"id": "=" + "x" * 5_000})
    await handle.signal("setup_completed")
    await deps.until("SELECT visit FROM runs WHERE state = 'there'", lambda visit: visit == 2)
    stored = await deps.rows("SELECT source, name FROM events WHERE name = 'setup_completed'")
    assert [tuple(row.values()) for row in stored] == [("temporal", "setup_completed")] * 3
    assert await _lives_on(deps, 0) == []


async def test_poison_that_waits_crosses_continue_as_new_and_is_buried_there(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with workless(database_url, temporal_address, task_queue, tmp_path) as deps, relaying(deps):
        async with worker(deps):
            handle = await _begun(deps)
        before = (await handle.describe()).run_id
        for n in range(120):
            await handle.signal("no_such_signal", {"a": 1})
            await handle.signal("setup_completed", _raw(b"\xff\xfe\x00", b"binary/plain") if n % 2 else {"id": n})
        async with worker(deps):
            await deps.until("SELECT count(*) FROM events WHERE source = 'temporal'", lambda n: n == 60)
            await _lives_on(deps, 180)
        assert (await handle.describe()).run_id != before
