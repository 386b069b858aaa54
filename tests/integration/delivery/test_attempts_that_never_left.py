"""An attempt of which nothing left does not count, however long the provider is unreachable.

A message whose result stays unknown is settled in the end.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from activities.channels.http.channel import HttpChannel, Reach
from activities.channels.push.channel import PushChannel
from activities.channels.push.web_push import WebPush
from activities.channels.slack import SlackChannel, SlackSettings
from activities.channels.webhook import WebhookChannel, WebhookSettings
from activities.outgoing.circuit_breaker import BreakerRule
from activities.outgoing.guarded_channel import GuardedChannel
from activities.outgoing.rate_limit import Rate
from activities.ports import Retry
from journeys.decision.effects import WithdrawnMessages
from store.database import execute, sql
from store.messages.withdrawals import withdraw_queued
from tests.support.provider import templates, vapid_key
from tests.support.sending import Sending, closed_port, settled_after
from worker.stack.providers.environment import KEY, WEBHOOK_SECRET
from worker.stack.providers.faults import ProviderFault

SOON = timedelta(milliseconds=200)


async def test_a_message_held_by_an_open_breaker_has_no_attempt_and_is_sent_when_it_closes(sending):
    sending.local.provider.faults.add(ProviderFault(provider="twilio", kind="status", status=503))
    guard = GuardedChannel(sending.sms(), rule=BreakerRule(failures=1, rest=SOON))
    first, second, third = await sending.first_attempts(guard, people=3)
    assert guard.state == "open"
    assert [message["status"] for message in (first, second, third)] == ["deferred"] * 3
    assert [message["attempts"] for message in (first, second, third)] == [1, 0, 0], (
        "only the first attempt reached the provider"
    )
    assert first["first_attempt_at"] is not None
    assert {message["first_attempt_at"] for message in (second, third)} == {None}
    assert {message["detail"] for message in (second, third)} == {"the provider is down"}
    messages = await sending.settle_all(guard)
    assert [(message["status"], message["attempts"]) for message in messages] == [("sent", 2), ("sent", 1), ("sent", 1)]
    assert len(sending.local.provider.accepted.search(provider="twilio")) == 3


async def test_a_message_held_by_the_rate_limit_has_no_attempt(sending):
    guard = GuardedChannel(sending.sms(), rate=Rate(5, burst=1))
    assert [message["attempts"] for message in await sending.first_attempts(guard, people=3)] == [1, 0, 0]
    assert [(message["status"], message["attempts"]) for message in await sending.settle_all(guard)] == [
        ("sent", 1)
    ] * 3


async def test_a_message_held_by_the_providers_retry_after_has_no_attempt(sending):
    sending.local.provider.faults.add(ProviderFault(provider="twilio", kind="status", status=429, retry_after=1))
    guard = GuardedChannel(sending.sms())
    assert [message["attempts"] for message in await sending.first_attempts(guard, people=2)] == [1, 0]
    assert [(message["status"], message["attempts"]) for message in await sending.settle_all(guard)] == [
        ("sent", 2),
        ("sent", 1),
    ]


def without_retry_window(channel: HttpChannel) -> HttpChannel:
    """Set a retry window of zero: a message is given up after its first attempt that left."""
    channel.retry = Retry(first=timedelta(milliseconds=20), within=timedelta(0))
    return channel


async def test_an_unreachable_provider_is_retried_beyond_the_retry_window_with_growing_waits(sending):
    away = without_retry_window(sending.sms(f"http://127.0.0.1:{closed_port()}/twilio"))
    (before,) = await sending.first_attempts(away)
    assert (before["status"], before["first_attempt_at"]) == ("deferred", None)
    after = await sending.next_attempt(away)
    assert (after["status"], after["first_attempt_at"], after["attempts"]) == ("deferred", None, 2)
    waits = [message["due_at"] - message["decided_at"] for message in (before, after)]
    assert waits[1] > 1.5 * waits[0], "each wait is longer than the one before"
    (sent,) = await sending.settle_all(sending.sms())
    assert (sent["status"], sent["attempts"]) == ("sent", 3)
    assert sent["first_attempt_at"] is not None


async def test_a_message_that_left_is_given_up_when_its_retry_window_ends(sending):
    sending.local.provider.faults.add(ProviderFault(provider="twilio", kind="status", status=503, times=None))
    (row,) = await sending.first_attempts(without_retry_window(sending.sms()))
    assert (row["status"], row["attempts"]) == ("failed", 1)
    assert row["detail"].startswith("given up: 503")


async def test_the_retry_window_keeps_its_start_when_the_next_attempt_does_not_leave(sending):
    sending.local.provider.faults.add(ProviderFault(provider="twilio", kind="status", status=503, times=None))
    patient = sending.sms()
    patient.retry = Retry(first=timedelta(milliseconds=20))
    (before,) = await sending.first_attempts(patient)
    away = sending.sms(f"http://127.0.0.1:{closed_port()}/twilio")
    away.retry = replace(patient.retry)
    after = await sending.next_attempt(away)
    assert after["first_attempt_at"] == before["first_attempt_at"] is not None
    assert (await sending.next_attempt(without_retry_window(away)))["status"] == "failed"


async def test_a_message_that_never_left_is_withheld_when_it_expires(sending):
    away = without_retry_window(sending.sms(f"http://127.0.0.1:{closed_port()}/twilio"))
    await sending.first_attempts(away)
    async with sending.database.transaction() as connection:
        await connection.execute("UPDATE messages SET expires_at = clock_timestamp()")
    (row,) = await sending.settle_all(away)
    assert (row["status"], row["attempts"]) == ("withheld", 1)
    assert '"expired"' in row["reasons"]


async def test_an_unreachable_browser_push_service_is_retried_with_growing_waits(sending):
    key = {"p256dh": WebPush(vapid_key(), "mailto:ops@tenure.example").public, "auth": "a2tra2tra2tra2tra2traw"}
    subscription = {"endpoint": f"http://127.0.0.1:{closed_port()}/browser", "keys": key}
    channel = PushChannel(
        templates(sending.folder),
        sending.http_client,
        Reach(near=True),
        web=WebPush(vapid_key(), "mailto:ops@tenure.example"),
    )
    channel.retry = Retry(first=timedelta(milliseconds=20))
    guard = GuardedChannel(channel)
    (before,) = await sending.first_attempts(guard, push_subscription=subscription)
    after = await sending.next_attempt(guard)
    assert guard.state == "closed", "a failing browser push service does not open the breaker"
    assert after["due_at"] - after["decided_at"] > before["due_at"] - before["decided_at"]


async def test_a_lookup_that_keeps_failing_is_repeated_less_often_and_ends_as_unknown(sending):
    faults = sending.local.provider.faults
    faults.add(ProviderFault(provider="slack", kind="reset_after_accept"))
    faults.add(ProviderFault(provider="slack", kind="status", status=503, times=None))
    chat = SlackChannel(
        templates(sending.folder),
        sending.http_client,
        Reach(near=True),
        SlackSettings(KEY, "C0ALL", f"{sending.local.url}/slack"),
    )
    (row,) = await sending.first_attempts(chat)
    assert (row["status"], row["attempts"]) == ("sending", 1)
    waiting = await settled_after(sending, chat, timedelta(minutes=10))
    assert (waiting["status"], waiting["detail"]) == ("sending", "the provider cannot be searched now")
    assert timedelta(minutes=9) < waiting["lease_until"] - datetime.now(UTC) < timedelta(minutes=11)
    assert (await settled_after(sending, chat, timedelta(hours=25)))["status"] == "unknown", (
        "an operator decides about it"
    )


async def test_H7_a_message_in_doubt_whose_state_was_left_is_unknown_and_not_withheld(
    sending,
):
    hook = WebhookChannel(
        templates(sending.folder),
        sending.http_client,
        Reach(near=True),
        WebhookSettings(f"{sending.local.url}/receiver/", WEBHOOK_SECRET),
    )
    sending.local.provider.faults.add(ProviderFault(provider="receiver", kind="reset_after_accept"))
    await sending.first_attempts(hook)
    async with sending.database.transaction() as connection:
        await execute(connection, sql("UPDATE runs SET state = 'done'"))
    row = await settled_after(sending, hook, timedelta(minutes=1))
    assert row["status"] == "unknown"
    assert '"state_left"' in row["reasons"], "the reason why it was not retried"
    assert len(sending.local.provider.accepted.search(provider="receiver")) == 1


async def message_in_doubt(sending: Sending) -> tuple[WebhookChannel, Any]:
    """A message that has arrived, whose answer was lost and whose second attempt failed."""
    url, faults = f"{sending.local.url}/receiver/", sending.local.provider.faults
    hook = WebhookChannel(
        templates(sending.folder), sending.http_client, Reach(near=True), WebhookSettings(url, WEBHOOK_SECRET)
    )
    faults.add(ProviderFault(provider="receiver", kind="reset_after_accept"))
    faults.add(ProviderFault(provider="receiver", kind="status", status=503))
    await sending.first_attempts(hook)
    row = await settled_after(sending, hook, timedelta(minutes=1))
    assert (row["status"], row["in_doubt"]) == ("deferred", True)
    return hook, row


async def test_a_deferred_message_in_doubt_that_is_withdrawn_is_unknown_and_counts_as_sent(sending):
    hook, row = await message_in_doubt(sending)
    async with sending.database.transaction() as connection:
        left = WithdrawnMessages("here was left for done", datetime.now(UTC))
        await withdraw_queued(connection, row["run"], left, left.at)
    (row,) = await sending.ledger()
    assert (row["status"], row["sent_at"] is not None) == ("unknown", True), "it counts for a cap"
    assert len(await sending.settle_all(hook)) == len(sending.local.provider.accepted.search(provider="receiver")) == 1


async def test_a_message_in_doubt_is_not_retried_after_the_lifetime_of_its_idempotency_key(sending):
    hook, _ = await message_in_doubt(sending)
    async with sending.database.transaction() as connection:
        await execute(connection, sql("UPDATE messages SET due_at = clock_timestamp()"))
    row = await settled_after(sending, hook, hook.retry.within + timedelta(hours=1))
    assert (row["status"], len(sending.local.provider.accepted.search(provider="receiver"))) == ("unknown", 1)
    assert "too late" in row["detail"]


async def test_a_message_in_doubt_that_is_retried_in_time_arrives_once(sending):
    hook, _ = await message_in_doubt(sending)
    async with sending.database.transaction() as connection:
        await execute(connection, sql("UPDATE messages SET due_at = clock_timestamp()"))
    (row,) = await sending.settle_all(hook)
    assert (row["status"], len(sending.local.provider.accepted.search(provider="receiver"))) == ("sent", 1)


async def test_a_message_in_doubt_that_is_then_refused_is_unknown_and_not_failed(sending):
    hook, _ = await message_in_doubt(sending)
    sending.local.provider.faults.add(ProviderFault(provider="receiver", kind="status", status=410))
    async with sending.database.transaction() as connection:
        await execute(connection, sql("UPDATE messages SET due_at = clock_timestamp()"))
    row = await settled_after(sending, hook, timedelta(minutes=1))
    assert (row["status"], len(sending.local.provider.accepted.search(provider="receiver"))) == ("unknown", 1)
    assert row["detail"].startswith("410")
