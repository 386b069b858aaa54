"""Urgency of outbox rows: by the most urgent journey that a row opens or reaches."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from store.database import Database, execute, sql
from store.outbox.derived import DerivedSignal, enqueue_derived
from store.outbox.queue import wake_outreach
from store.outbox.rows import urgency_of
from tests.support.members import READER, Lanes

LIFECYCLE, LIFECYCLE_COPY = urgency_of("lifecycle"), urgency_of("lifecycle", is_copy=True)
URGENT, TRANSACTIONAL = urgency_of("urgent_support"), urgency_of("transactional")
HELP = """
journey: help
entry: {on: ticket_opened, again: always}
priority: urgent_support
topic: support
start: here
states:
  here: {on: {ticket_resolved: over, contract_ended: over}}
  over: {final: done}
"""
RECEIPT = """
journey: receipt
entry: {on: [order_paid, signed_up], again: always}
topic: orders
start: here
states:
  here: {do: [{send: orders/receipt, via: [email], priority: transactional}, {send: orders/more, via: [email]}]}
"""
_ROWS = sql("SELECT name, urgency FROM outbox WHERE recipient = :key AND kind <> 'facts' ORDER BY id")
_MESSAGE = """
    INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority, at,
      status, decided_at) VALUES (:status || :priority, 'r', 1, :key, :key, 'j', 's', 1, 'a', 't', '["email"]', :priority, now(), :status, now())
"""


@pytest_asyncio.fixture
async def lanes(database: Database) -> Lanes:
    return Lanes(database)


async def urgencies(lanes: Lanes, name: str) -> list[tuple[str, int]]:
    return [(row["name"], row["urgency"]) for row in await lanes.rows(_ROWS, key=await lanes.key(name))]


async def test_a_row_is_as_urgent_as_the_most_urgent_journey_that_it_opens_or_reaches(lanes: Lanes) -> None:
    await lanes.publish(READER, HELP)
    await lanes.track("ada", "signed_up")
    await lanes.track("ada", "ticket_opened")
    await lanes.track("ada", "limit_reached")
    await lanes.track("ada", "contract_ended")
    assert await urgencies(lanes, "ada") == [
        ("signed_up", LIFECYCLE),
        ("ticket_opened", URGENT),
        ("limit_reached", LIFECYCLE),
        ("contract_ended", URGENT),
    ]
    runs = await lanes.rows(sql("SELECT journey, priority FROM runs ORDER BY journey"))
    assert [(run["journey"], run["priority"]) for run in runs] == [("help", 0), ("reader", 2)]


async def test_one_transactional_message_makes_its_journey_transactional(lanes: Lanes) -> None:
    await lanes.publish(READER, RECEIPT)
    await lanes.track("ada", "signed_up")
    assert await urgencies(lanes, "ada") == [("signed_up", TRANSACTIONAL)]


async def test_a_copy_comes_after_other_rows_of_the_priority_of_what_members_run(lanes: Lanes) -> None:
    await lanes.publish(READER, HELP)
    for name, event in (("ada", "signed_up"), ("ben", "ticket_opened")):
        await lanes.joins(name)
        await lanes.track(name, event)
    await lanes.happens("limit_reached")
    await lanes.happens("contract_ended")
    await lanes.fan_out()
    assert (await urgencies(lanes, "ada"))[1:] == [("limit_reached", LIFECYCLE_COPY), ("contract_ended", URGENT + 1)]
    assert (await urgencies(lanes, "ben"))[1:] == [("contract_ended", URGENT + 1)]


@pytest.mark.parametrize(("event", "urgency"), [("signed_up", LIFECYCLE), ("ticket_opened", URGENT)])
async def test_a_derived_signal_is_as_urgent_as_its_run(lanes: Lanes, event: str, urgency: int) -> None:
    await lanes.publish(READER, HELP)
    await lanes.track("ada", event)
    run = await lanes.run("ada")
    async with lanes.database.transaction() as connection:
        signal = DerivedSignal(run["lane"], run["id"], "signal", "closed", "derived", datetime.now(UTC))
        await enqueue_derived(connection, signal)
    assert (await urgencies(lanes, "ada"))[-1] == ("closed", urgency)


@pytest.mark.parametrize(
    ("messages", "urgency"),
    [
        ({}, LIFECYCLE),
        ({"promotional": "deferred"}, urgency_of("promotional")),
        ({"promotional": "deferred", "transactional": "sending"}, TRANSACTIONAL),
        ({"lifecycle": "deferred", "urgent_support": "sent"}, LIFECYCLE),
    ],
    ids=["none", "promotional", "transactional", "sent"],
)
async def test_a_wake_is_as_urgent_as_the_most_urgent_message_that_waits(
    lanes: Lanes, messages: Mapping[str, str], urgency: int
) -> None:
    await lanes.identify("ada", role="admin")
    key = await lanes.key("ada")
    async with lanes.database.transaction() as connection:
        for priority, status in messages.items():
            await execute(connection, sql(_MESSAGE), key=key, priority=priority, status=status)
        await wake_outreach(connection, key)
    assert await urgencies(lanes, "ada") == [("", urgency)]
