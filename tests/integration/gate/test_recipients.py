"""What reaches whom: one member's doing is not another's, what is no longer true is not sent, fields do not go stale."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest_asyncio

from journeys.events.segment import Incoming
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
async def house(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[Living]:
    async with living(database_url, temporal_address, task_queue, tmp_path) as found:
        yield found


def grouped(number: int, user: str) -> Incoming:
    return Incoming("group", f"g{number}", "group", user_id=user, account_id="acme", traits={"plan": "team"})


async def test_what_one_member_does_reaches_them_once_and_their_account_and_nobody_else(house: Living) -> None:
    await house.publish(SETTING_UP)
    await house.publish(OF_ACCOUNT)
    await house.accept(grouped(1, "alice"), grouped(2, "bob"))
    await house.accept(Incoming("track", "c1", "contract_started", account_id="acme"))
    await house.accept(house.track("alice", "signed_up"), house.track("bob", "signed_up"))
    await house.accept(house.track("alice", "setup_completed"), house.track("alice", "activated"))
    await house.until("SELECT outcome FROM runs WHERE outcome IS NOT NULL")
    await house.until("SELECT state FROM runs WHERE journey = 'of-account'", lambda state: state == "proud")
    await house.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", lambda n: n == 0)
    outcomes = await house.rows(
        "SELECT i.value, r.outcome FROM runs r JOIN identities i ON i.subject_key = r.subject_key AND i.kind = 'user_id' "
        "ORDER BY 1"
    )
    assert [(row["value"], row["outcome"]) for row in outcomes] == [("alice", "reached"), ("bob", None)]
    sent = await house.rows("SELECT status FROM messages WHERE template = 'setup/checklist'")
    assert len(sent) == 1


async def test_H7_a_message_of_a_state_left_in_the_same_decision_is_withheld(house: Living) -> None:
    await house.publish(SETTING_UP)
    now = datetime.now(UTC)
    await house.accept(
        house.track("ada", "signed_up", at=now - timedelta(hours=4)),
        house.track("ada", "activated", at=now - timedelta(hours=1)),
    )
    assert await house.until("SELECT outcome FROM runs") == "reached"
    found = await house.rows("SELECT status, reasons FROM messages")
    assert [row["status"] for row in found] == ["withheld"]
    assert "state_left" in str(found[0]["reasons"])
    assert await house.rows("SELECT 1 FROM inbox") == []


async def test_a_timer_reads_fields_whose_row_the_outbox_has_forgotten(house: Living) -> None:
    await house.publish(OFFER, {"profile.lifetime_value": "double"})
    await house.accept(house.track("ada", "signed_up"))
    await house.accept(house.identify("ada", lifetime_value=250.0))
    async with house.database.transaction() as connection:
        await connection.execute("DELETE FROM outbox WHERE kind = 'facts'")
    assert await house.until("SELECT status FROM messages") == "sent"
