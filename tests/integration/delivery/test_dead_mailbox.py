"""A mailbox that the relay rejects at once is suppressed, so no other journey writes to it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from tests.support.live_stack import LiveStack, live_stack
from worker.settings import ROOT

FIRST = """
journey: first
entry: {on: signed_up, again: never}
exit: [{on: account_closed}]
topic: onboarding
start: inside
states:
  inside:
    do: [{send: education/first-value, name: hello, via: [email]}]
    on: {message_bounced: {to: dead, when: 'event.kind == "hard"'}}
  dead: {final: dead}
"""
SECOND = """
journey: second
entry: {on: pricing_viewed, again: never}
exit: [{on: account_closed}]
topic: onboarding
start: inside
states: {inside: {do: [{send: education/first-value, name: again, via: [email]}]}}
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    folder = tmp_path / "catalog"
    shutil.copytree(ROOT / "catalog", folder)
    (folder / "policy.yaml").write_text(yaml.safe_dump({"consent": [{"default": "granted"}]}))
    (folder / "consent.yaml").write_text("suppress: {message_bounced: {channel: email, reason: bounce}}")
    return folder


@pytest_asyncio.fixture
async def stack(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> AsyncIterator[LiveStack]:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as stack:
        await stack.publish(FIRST, {"event.message_bounced.kind": "string"})
        await stack.publish(SECOND)
        yield stack


async def result_of(stack: LiveStack, action: str) -> tuple[str, str]:
    """The final status of a message, and its reason or the relay's reply."""
    result = await stack.until(
        "SELECT status || '|' || coalesce(reasons->0->>'code', detail) FROM messages "
        "WHERE action = :action AND status NOT IN ('sending', 'deferred')",
        action=action,
    )
    status, _, why = result.partition("|")
    return status, why


async def suppressions(stack: LiveStack) -> list[tuple[Any, ...]]:
    rows = await stack.rows("SELECT channel, reason, source FROM suppressions WHERE lifted_at IS NULL")
    return [tuple(row.values()) for row in rows]


async def test_a_mailbox_that_the_relay_rejects_is_suppressed_for_all_journeys(stack: LiveStack) -> None:
    await stack.accept(stack.identify("ada", email="ada@bounce.example", first_name="Ada"))
    await stack.accept(stack.track("ada", "signed_up"))
    assert await result_of(stack, "hello") == ("failed", "550 5.1.1 no such mailbox")
    assert await suppressions(stack) == [("email", "hard_bounce", "tenure:message_bounced")]
    assert await stack.until("SELECT outcome FROM runs WHERE journey = 'first'") == "dead", (
        "the journey receives the bounce as a signal"
    )
    await stack.accept(stack.track("ada", "pricing_viewed"))
    assert await result_of(stack, "again") == ("withheld", "suppressed")


async def test_a_busy_mailbox_is_not_suppressed(stack: LiveStack) -> None:
    await stack.accept(stack.identify("bo", email="bo@busy.example", first_name="Bo"))
    await stack.accept(stack.track("bo", "signed_up"))
    await stack.until("SELECT count(*) FROM messages WHERE status = 'deferred' AND attempts > 0")
    assert await suppressions(stack) == []
    assert await stack.rows("SELECT 1 FROM events WHERE name = 'message_bounced'") == []


async def test_a_mail_that_is_refused_because_of_the_sender_fails_and_suppresses_nobody(stack: LiveStack) -> None:
    await stack.accept(stack.identify("cy", email="cy@refused.example", first_name="Cy"))
    await stack.accept(stack.track("cy", "signed_up"))
    assert await result_of(stack, "hello") == ("failed", "550 5.7.1 sender refused by policy")
    assert await suppressions(stack) == []
    assert await stack.rows("SELECT 1 FROM events WHERE name = 'message_bounced'") == []
    (refusal,) = await stack.rows("SELECT channel, code, times FROM sender_refusals WHERE closed_at IS NULL")
    assert tuple(refusal.values()) == ("email", "550 5.7.1", 1)


async def test_a_full_mailbox_is_counted_and_not_suppressed_at_once(stack: LiveStack) -> None:
    await stack.accept(stack.identify("di", email="di@full.example", first_name="Di"))
    await stack.accept(stack.track("di", "signed_up"))
    assert await result_of(stack, "hello") == ("failed", "552 5.2.2 mailbox full")
    assert await suppressions(stack) == []
    assert len(await stack.rows("SELECT 1 FROM soft_bounces")) == 1
    (bounce,) = await stack.rows("SELECT data->>'kind' AS kind FROM events WHERE name = 'message_bounced'")
    assert bounce["kind"] == "soft"
