"""Signals reach the right runs, outdated messages are not sent, and timers read current fields."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest_asyncio

from journeys.events.inbound import InboundEvent
from tests.support.live_stack import LiveStack, live_stack

SETTING_UP = """
journey: setting-up
entry: {on: signed_up, again: never}
goal: {on: activated}
topic: onboarding
start: waiting
states:
  waiting:
    on: {setup_completed: {do: [{send: setup/checklist, via: [in_app]}]}}
    after: {PT1H: {do: [{send: setup/first-steps, via: [in_app]}]}}
"""
OF_ACCOUNT = """
journey: of-account
subject: account
entry: {on: contract_started, again: never}
start: serving
states:
  serving: {on: {activated: proud, setup_completed: proud}}
  proud: {}
"""
OFFER = """
journey: offer
entry: {on: signed_up, again: never}
topic: onboarding
start: waiting
states:
  waiting:
    after: {PT2S: {when: profile.lifetime_value >= 200.0, do: [{send: setup/first-steps, via: [in_app]}]}}
    on: {ping: {do: []}}
"""


@pytest_asyncio.fixture
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path) as stack:
        yield stack


def grouped(number: int, user: str) -> InboundEvent:
    return InboundEvent("group", f"g{number}", "group", user_id=user, account_id="acme", traits={"plan": "team"})


async def test_a_members_event_reaches_their_own_run_and_their_accounts_run_only(stack: LiveStack) -> None:
    await stack.publish(SETTING_UP)
    await stack.publish(OF_ACCOUNT)
    await stack.accept(grouped(1, "alice"), grouped(2, "bob"))
    await stack.accept(InboundEvent("track", "c1", "contract_started", account_id="acme"))
    await stack.accept(stack.track("alice", "signed_up"), stack.track("bob", "signed_up"))
    await stack.accept(stack.track("alice", "setup_completed"), stack.track("alice", "activated"))
    await stack.until("SELECT outcome FROM runs WHERE outcome IS NOT NULL")
    await stack.until("SELECT state FROM runs WHERE journey = 'of-account'", lambda state: state == "proud")
    await stack.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
    outcomes = await stack.rows(
        "SELECT i.value, r.outcome FROM runs r JOIN identities i ON i.subject_key = r.subject_key AND i.kind = 'user_id' "
        "ORDER BY 1"
    )
    assert [(row["value"], row["outcome"]) for row in outcomes] == [("alice", "reached"), ("bob", None)]
    sent = await stack.rows("SELECT status FROM messages WHERE template = 'setup/checklist'")
    assert len(sent) == 1


async def test_H7_a_message_of_a_state_left_in_the_same_decision_is_withheld(stack: LiveStack) -> None:
    await stack.publish(SETTING_UP)
    now = datetime.now(UTC)
    await stack.accept(
        stack.track("ada", "signed_up", at=now - timedelta(hours=4)),
        stack.track("ada", "activated", at=now - timedelta(hours=1)),
    )
    assert await stack.until("SELECT outcome FROM runs") == "reached"
    messages = await stack.rows("SELECT status, reasons FROM messages")
    assert [row["status"] for row in messages] == ["withheld"]
    assert "state_left" in str(messages[0]["reasons"])
    assert await stack.rows("SELECT 1 FROM inbox") == []


async def test_a_timer_reads_changed_fields_after_their_outbox_row_was_deleted(stack: LiveStack) -> None:
    await stack.publish(OFFER, {"profile.lifetime_value": "double"})
    await stack.accept(stack.track("ada", "signed_up"))
    await stack.accept(stack.identify("ada", lifetime_value=250.0))
    async with stack.database.transaction() as connection:
        await connection.execute("DELETE FROM outbox WHERE kind = 'facts'")
    assert await stack.until("SELECT status FROM messages") == "sent"
