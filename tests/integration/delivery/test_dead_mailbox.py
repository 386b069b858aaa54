"""A relay that says at once that there is no such mailbox: the address is silenced, and no other journey writes there again."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from tests.support.live_stack import Living, living
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
async def deps(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> AsyncIterator[Living]:
    async with living(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as found:
        await found.publish(FIRST, {"event.message_bounced.kind": "string"})
        await found.publish(SECOND)
        yield found


async def said_of(deps: Living, action: str) -> tuple[str, str]:
    """How a message ended, and the reason or the relay's words."""
    found = await deps.until(
        "SELECT status || '|' || coalesce(reasons->0->>'code', detail) FROM messages "
        "WHERE action = :action AND status NOT IN ('sending', 'deferred')",
        action=action,
    )
    status, _, why = found.partition("|")
    return status, why


async def suppressed(deps: Living) -> list[tuple[Any, ...]]:
    found = await deps.rows("SELECT channel, reason, source FROM suppressions WHERE lifted_at IS NULL")
    return [tuple(each.values()) for each in found]


async def test_a_mailbox_that_is_not_there_is_written_to_once_by_all_journeys_together(deps: Living) -> None:
    await deps.accept(deps.identify("ada", email="ada@bounce.example", first_name="Ada"))
    await deps.accept(deps.track("ada", "signed_up"))
    assert await said_of(deps, "hello") == ("failed", "550 5.1.1 no such mailbox")
    assert await suppressed(deps) == [("email", "hard_bounce", "tenure:message_bounced")]
    assert await deps.until("SELECT outcome FROM runs WHERE journey = 'first'") == "dead", (
        "it hears of it like any other"
    )
    await deps.accept(deps.track("ada", "pricing_viewed"))
    assert await said_of(deps, "again") == ("withheld", "suppressed")


async def test_a_mailbox_that_is_busy_or_a_mail_that_is_not_wanted_silences_nobody(deps: Living) -> None:
    await deps.accept(deps.identify("bo", email="bo@busy.example", first_name="Bo"))
    await deps.accept(deps.track("bo", "signed_up"))
    await deps.until("SELECT count(*) FROM messages WHERE status = 'deferred' AND attempts > 0")
    assert await suppressed(deps) == []
    assert await deps.rows("SELECT 1 FROM events WHERE name = 'message_bounced'") == []
