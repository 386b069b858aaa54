"""An unreadable signal becomes a dead letter; it neither ends nor delays the run."""

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
from tests.support.live_stack import LiveStack, live_stack
from tests.support.worker_parts import running_relay, stack_without_workers, worker

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
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path) as stack:
        yield stack


async def _begun(stack: LiveStack) -> WorkflowHandle[Any, Any]:
    await stack.publish(JOURNEY)
    await stack.accept(stack.track("ada", "signed_up"))
    run = await stack.until("SELECT id FROM runs WHERE state = 'here'")
    return stack.client.get_workflow_handle(run)


async def _reasons_of_dead_letters(stack: LiveStack, expected: int) -> list[str]:
    count = await stack.until("SELECT count(*) FROM dead_letters", lambda n: n >= expected)
    assert count == expected
    await stack.accept(stack.track("ada", "activated"))
    assert await stack.until("SELECT outcome FROM runs") == "reached"
    return [row["reason"] for row in await stack.rows("SELECT reason FROM dead_letters ORDER BY id")]


def _raw(data: bytes, encoding: bytes = b"json/plain") -> RawValue:
    return RawValue(Payload(metadata={"encoding": encoding}, data=data))


async def test_payloads_that_are_not_json_objects_become_dead_letters_and_the_run_goes_on(stack: LiveStack) -> None:
    handle = await _begun(stack)
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
    await _reasons_of_dead_letters(stack, len(poison))


async def test_signals_with_unknown_or_reserved_names_become_dead_letters_with_their_payload(stack: LiveStack) -> None:
    handle = await _begun(stack)
    await handle.signal("no_such_signal", {"a": 1})
    await handle.signal("tenure.secret", {"a": 1})
    await handle.signal("nul\x00name", {"a": 1})
    assert len(await _reasons_of_dead_letters(stack, 3)) == 3
    rows = await stack.rows("SELECT name, payload FROM dead_letters ORDER BY id")
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


async def test_invalid_envelopes_become_dead_letters(stack: LiveStack) -> None:
    handle = await _begun(stack)
    for value in FORGED.values():
        await handle.signal(wire.SIGNAL_EVENT, value)
    await _reasons_of_dead_letters(stack, len(FORGED))


UNSTORABLE = {
    "an integer beyond 64 bits": {"n": 10**30},
    "a NUL": {"text": "a\x00b"},
    "more than an event may be": {"text": "a" * 40_000},
}


@pytest.mark.parametrize("data", UNSTORABLE.values(), ids=list(UNSTORABLE))
async def test_plain_signals_that_cannot_be_stored_become_dead_letters(stack: LiveStack, data: dict[str, Any]) -> None:
    handle = await _begun(stack)
    await handle.signal("setup_completed", data)
    await _reasons_of_dead_letters(stack, 1)


async def test_a_plain_signal_is_stored_once_per_id_with_its_source_and_decided(stack: LiveStack) -> None:
    handle = await _begun(stack)
    for _ in range(3):
        await handle.signal("setup_completed", {"id": "import-7"})
    await handle.signal("setup_completed", {"id": "=" + "x" * 5_000})
    await handle.signal("setup_completed")
    await stack.until("SELECT visit FROM runs WHERE state = 'there'", lambda visit: visit == 2)
    stored = await stack.rows("SELECT source, name FROM events WHERE name = 'setup_completed'")
    assert [tuple(row.values()) for row in stored] == [("temporal", "setup_completed")] * 3
    assert await _reasons_of_dead_letters(stack, 0) == []


async def test_unreadable_signals_become_dead_letters_across_continue_as_new(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with (
        stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack,
        running_relay(stack),
    ):
        async with worker(stack):
            handle = await _begun(stack)
        before = (await handle.describe()).run_id
        for n in range(120):
            await handle.signal("no_such_signal", {"a": 1})
            await handle.signal("setup_completed", _raw(b"\xff\xfe\x00", b"binary/plain") if n % 2 else {"id": n})
        async with worker(stack):
            await stack.until("SELECT count(*) FROM events WHERE source = 'temporal'", lambda n: n == 60)
            await _reasons_of_dead_letters(stack, 180)
        assert (await handle.describe()).run_id != before
