"""How long a message is retried, and how a resent one is delivered."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from store.database import execute, fetch_all, sql
from store.messages.resend import resend_message
from tests.support.live_stack import LiveStack, live_stack
from tests.support.skipped_time import skipped_time
from worker.settings import ROOT

TWO_MAILS = """
journey: two-mails
entry: {on: signed_up, again: never}
topic: onboarding
start: waiting
states:
  waiting:
    do: [{send: setup/first-steps, via: [email]}]
    on: {setup_completed: {do: [{send: setup/checklist, via: [email]}]}}
"""
RARELY = """
consent: [{default: granted}]
cooldowns: [{name: rarely, channel: email, between: P2D}]
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """The shipped templates, and a policy that keeps mails two days apart."""
    folder = tmp_path / "catalog"
    shutil.copytree(ROOT / "catalog", folder)
    (folder / "policy.yaml").write_text(RARELY)
    (folder / "consent.yaml").unlink(missing_ok=True)  # it belongs to the shipped policy
    return folder


async def test_a_mail_deferred_for_two_days_is_still_retried_when_its_relay_is_busy(
    database_url: str, temporal_address: str, tmp_path: Path, catalog: Path
) -> None:
    async with skipped_time(database_url, temporal_address, tmp_path, catalog=catalog) as stage:
        await stage.publish(TWO_MAILS, checked=False)
        await stage.identify("ada", email="ada@example.com", first_name="Ada")
        await stage.signal("ada", "signed_up")
        await stage.signal("ada", "setup_completed")
        await stage.identify("ada", email="ada@busy.example")
        await stage.forward(days=2, minutes=10)
        (retried,) = await stage.messages(status="deferred")
        async with stage.database.reading() as connection:
            (row,) = await fetch_all(
                connection, sql("SELECT attempts, first_attempt_at, due_at FROM messages WHERE status = 'deferred'")
            )
        assert row["attempts"] > 1
        assert retried["due_at"] > row["first_attempt_at"] > retried["at"]


async def test_a_mail_is_given_up_a_day_after_its_first_attempt(
    database_url: str, temporal_address: str, tmp_path: Path
) -> None:
    async with skipped_time(database_url, temporal_address, tmp_path) as stage:
        await stage.publish(TWO_MAILS, checked=False)
        await stage.identify("ada", email="ada@busy.example", first_name="Ada")
        await stage.signal("ada", "signed_up")
        async with stage.database.transaction() as connection:
            await execute(
                connection, sql("UPDATE messages SET first_attempt_at = first_attempt_at - interval '24 hours'")
            )
        await stage.forward(minutes=1)
        (given_up,) = await stage.messages(status="failed")
        assert given_up["template"] == "setup/first-steps"


@pytest_asyncio.fixture
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path) as stack:
        yield stack


async def test_a_resent_mail_passes_the_gate_and_goes_to_the_current_address(
    stack: LiveStack,
) -> None:
    await stack.publish(TWO_MAILS)
    await stack.accept(stack.identify("ada", email="ada@bounce.example", first_name="Ada"))
    await stack.accept(stack.track("ada", "signed_up"))
    await stack.until("SELECT count(*) FROM messages WHERE status = 'failed'")
    await stack.accept(stack.identify("ada", email="ada@example.com"))
    (row,) = await stack.rows("SELECT id FROM messages")
    assert await resend_message(stack.database, row["id"])
    await stack.until("SELECT count(*) FROM messages WHERE status = 'sent'")
    assert stack.mail.count() == 1
    assert not await resend_message(stack.database, row["id"])
