"""What reaches whom: one member's doing is not another's, what is no longer true is not sent, fields do not go stale."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest_asyncio

from journeys.events.inbound import InboundEvent
from tests.support.live_stack import Living, living

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
async def deps(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[Living]:
    async with living(database_url, temporal_address, task_queue, tmp_path) as found:
        yield found


def grouped(number: int, user: str) -> InboundEvent:
    return InboundEvent("group", f"g{number}", "group", user_id=user, account_id="acme", traits={"plan": "team"})


async def test_what_one_member_does_reaches_them_once_and_their_account_and_nobody_else(deps: Living) -> None:
    await deps.publish(SETTING_UP)
    await deps.publish(OF_ACCOUNT)
    await deps.accept(grouped(1, "alice"), grouped(2, "bob"))
    await deps.accept(InboundEvent("track", "c1", "contract_started", account_id="acme"))
    await deps.accept(deps.track("alice", "signed_up"), deps.track("bob", "signed_up"))
    await deps.accept(deps.track("alice", "setup_completed"), deps.track("alice", "activated"))
    await deps.until("SELECT outcome FROM runs WHERE outcome IS NOT NULL")
    await deps.until("SELECT state FROM runs WHERE journey = 'of-account'", lambda state: state == "proud")
    await deps.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
    outcomes = await deps.rows(
        "SELECT i.value, r.outcome FROM runs r JOIN identities i ON i.subject_key = r.subject_key AND i.kind = 'user_id' "
        "ORDER BY 1"
    )
    assert [(row["value"], row["outcome"]) for row in outcomes] == [("alice", "reached"), ("bob", None)]
    sent = await deps.rows("SELECT status FROM messages WHERE template = 'setup/checklist'")
    assert len(sent) == 1


async def test_H7_a_message_of_a_state_left_in_the_same_decision_is_withheld(deps: Living) -> None:
    await deps.publish(SETTING_UP)
    now = datetime.now(UTC)
    await deps.accept(
        deps.track("ada", "signed_up", at=now - timedelta(hours=4)),
        deps.track("ada", "activated", at=now - timedelta(hours=1)),
    )
    assert await deps.until("SELECT outcome FROM runs") == "reached"
    found = await deps.rows("SELECT status, reasons FROM messages")
    assert [row["status"] for row in found] == ["withheld"]
    assert "state_left" in str(found[0]["reasons"])
    assert await deps.rows("SELECT 1 FROM inbox") == []


async def test_a_timer_reads_fields_whose_row_the_outbox_has_forgotten(deps: Living) -> None:
    await deps.publish(OFFER, {"profile.lifetime_value": "double"})
    await deps.accept(deps.track("ada", "signed_up"))
    await deps.accept(deps.identify("ada", lifetime_value=250.0))
    async with deps.database.transaction() as connection:
        await connection.execute("DELETE FROM outbox WHERE kind = 'facts'")
    assert await deps.until("SELECT status FROM messages") == "sent"
