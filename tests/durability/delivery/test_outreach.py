"""Outreach: one workflow per person that sends deferred messages, retries attempts and looks up lost ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest_asyncio

from store.database import execute, fetch_all, sql
from store.outbox.pruning import prune_delivered
from tests.support.live_stack import LiveStack, live_stack
from tests.support.skipped_time import SkippedTime, skipped_time
from worker.stack.mail_sink import MailFaults

HELD_BACK = """
journey: held-back
entry: {on: signed_up, again: never}
topic: onboarding
start: waiting
states:
  waiting:
    do: [{send: setup/first-steps, via: [email]}]
    on:
      setup_completed: {do: [{send: setup/checklist, via: [email]}]}
      activated: over
  over: {final: reached}
"""


async def _two_mails(skipped: SkippedTime) -> None:
    """Request two mails; the second within the cooldown between e-mails, 20 hours."""
    await skipped.publish(HELD_BACK, checked=False)
    await skipped.identify("ada", email="ada@example.com", first_name="Ada")
    await skipped.signal("ada", "signed_up")
    await skipped.forward(hours=1)
    await skipped.signal("ada", "setup_completed")


async def test_a_message_held_by_a_cooldown_is_sent_when_it_ends(skipped: SkippedTime) -> None:
    await _two_mails(skipped)
    assert await skipped.sent() == ["setup/first-steps"]
    (held,) = await skipped.messages(status="deferred")
    await skipped.forward(hours=18)
    assert skipped.mail.count() == 1
    await skipped.forward(hours=2)
    assert await skipped.sent() == ["setup/first-steps", "setup/checklist"]
    sent = (await skipped.messages())[1]
    assert timedelta(0) <= sent["sent_at"] - held["due_at"] < timedelta(minutes=1)
    assert skipped.mail.count() == 2


async def test_a_message_held_by_a_cooldown_is_withdrawn_when_its_state_is_left(skipped: SkippedTime) -> None:
    await _two_mails(skipped)
    await skipped.signal("ada", "activated")
    await skipped.forward(days=3)
    assert skipped.mail.count() == 1
    assert [message["template"] for message in await skipped.messages(status="withdrawn")] == ["setup/checklist"]


async def test_the_outreach_of_a_person_without_due_messages_completes(skipped: SkippedTime) -> None:
    await _two_mails(skipped)
    await skipped.forward(days=2)
    running = [workflow async for workflow in skipped.client.list_workflows(_outreach(skipped))]
    assert [workflow.status.name for workflow in running if workflow.status] == ["COMPLETED"] * len(running)


def _outreach(skipped: SkippedTime) -> str:
    return f"WorkflowType = 'OutreachWorkflow' AND TaskQueue = '{skipped.settings.task_queue}'"


async def test_a_mail_that_a_busy_relay_refused_is_retried_and_arrives_once(
    database_url: str, temporal_address: str, tmp_path: Path
) -> None:
    async with skipped_time(
        database_url, temporal_address, tmp_path, faults=MailFaults(fail_rate=0.6, seed=3)
    ) as skipped:
        await skipped.publish(HELD_BACK, checked=False)
        for n in range(5):
            await skipped.identify(f"u{n}", email=f"u{n}@example.com", first_name="U")
            await skipped.signal(f"u{n}", "signed_up")
        await skipped.forward(days=1)
        assert len(await skipped.sent()) == 5
        assert skipped.mail.count() == 5
        assert set(skipped.mail.message_ids().values()) == {1}
        async with skipped.database.reading() as connection:
            (attempts,) = await fetch_all(connection, sql("SELECT max(attempts) AS n FROM messages"))
        assert attempts["n"] > 1


async def test_a_mail_with_an_unknown_result_is_found_and_not_resent(
    database_url: str, temporal_address: str, tmp_path: Path
) -> None:
    lossy = MailFaults(close_after_accept_rate=1.0)
    async with skipped_time(database_url, temporal_address, tmp_path, faults=lossy) as skipped:
        await skipped.publish(HELD_BACK, checked=False)
        await skipped.identify("ada", email="ada@example.com", first_name="Ada")
        await skipped.signal("ada", "signed_up")
        await skipped.settle()
        assert await skipped.sent() == ["setup/first-steps"]
        assert skipped.mail.count() == 1


@pytest_asyncio.fixture
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path) as stack:
        yield stack


async def test_outbox_rows_delivered_long_ago_are_pruned(stack: LiveStack) -> None:
    await stack.publish(HELD_BACK)
    await stack.accept(stack.track("ada", "signed_up"))
    await stack.until("SELECT count(*) FROM outbox WHERE delivered_at IS NOT NULL")
    before = datetime.now(UTC) - timedelta(days=7)
    async with stack.database.transaction() as connection:
        assert (await prune_delivered(connection, before)).deleted == 0
        await execute(connection, sql("UPDATE outbox SET delivered_at = delivered_at - interval '8 days'"))
        assert (await prune_delivered(connection, before)).deleted >= 1
        assert (await prune_delivered(connection, before)).deleted == 0
