"""An attempt of which nothing left is none: it counts against no message, however long its provider cannot be reached.

And one of which nobody can say what became of it comes to an end.
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
from tests.support.sending import Sending, asked_after, nobody
from worker.stack.providers.environment import KEY, WEBHOOK_SECRET
from worker.stack.providers.faults import ProviderFault

SOON = timedelta(milliseconds=200)


async def test_who_meets_an_open_breaker_has_made_no_attempt_and_goes_once_it_closes(sending):
    sending.local.provider.faults.add(ProviderFault(provider="twilio", kind="status", status=503))
    guard = GuardedChannel(sending.sms(), rule=BreakerRule(failures=1, rest=SOON))
    first, second, third = await sending.go(guard, people=3)
    assert guard.state == "open"
    assert [each["status"] for each in (first, second, third)] == ["deferred"] * 3
    assert [each["attempts"] for each in (first, second, third)] == [1, 0, 0], "only the first has reached anybody"
    assert first["first_attempt_at"] is not None
    assert {each["first_attempt_at"] for each in (second, third)} == {None}
    assert {each["detail"] for each in (second, third)} == {"the provider is down"}
    found = await sending.later(guard)
    assert [(each["status"], each["attempts"]) for each in found] == [("sent", 2), ("sent", 1), ("sent", 1)]
    assert len(sending.local.provider.accepted.search(provider="twilio")) == 3


async def test_who_waits_for_the_providers_rate_has_made_no_attempt(sending):
    guard = GuardedChannel(sending.sms(), rate=Rate(5, burst=1))
    assert [each["attempts"] for each in await sending.go(guard, people=3)] == [1, 0, 0]
    assert [(each["status"], each["attempts"]) for each in await sending.later(guard)] == [("sent", 1)] * 3


async def test_who_waits_through_a_pause_that_the_provider_asked_for_has_made_no_attempt(sending):
    sending.local.provider.faults.add(ProviderFault(provider="twilio", kind="status", status=429, retry_after=1))
    guard = GuardedChannel(sending.sms())
    assert [each["attempts"] for each in await sending.go(guard, people=2)] == [1, 0]
    assert [(each["status"], each["attempts"]) for each in await sending.later(guard)] == [("sent", 2), ("sent", 1)]


def impatient(channel: HttpChannel) -> HttpChannel:
    """One that gives up at once what has been tried."""
    channel.retry = Retry(first=timedelta(milliseconds=20), within=timedelta(0))
    return channel


async def test_a_provider_that_cannot_be_reached_is_waited_for_longer_than_tries_would_last(sending):
    away = impatient(sending.sms(f"http://127.0.0.1:{nobody()}/twilio"))
    (before,) = await sending.go(away)
    assert (before["status"], before["first_attempt_at"]) == ("deferred", None)
    after = await sending.look(away)
    assert (after["status"], after["first_attempt_at"], after["attempts"]) == ("deferred", None, 2)
    waits = [each["due_at"] - each["decided_at"] for each in (before, after)]
    assert waits[1] > 1.5 * waits[0], "each wait is longer: there is a breaker for providers, and none for browsers"
    (sent,) = await sending.later(sending.sms())
    assert (sent["status"], sent["attempts"]) == ("sent", 3)
    assert sent["first_attempt_at"] is not None


async def test_what_did_leave_is_given_up_when_its_time_is_over(sending):
    sending.local.provider.faults.add(ProviderFault(provider="twilio", kind="status", status=503, times=None))
    (row,) = await sending.go(impatient(sending.sms()))
    assert (row["status"], row["attempts"]) == ("failed", 1)
    assert row["detail"].startswith("given up: 503")


async def test_a_try_that_left_is_not_forgotten_because_the_next_could_not_leave(sending):
    sending.local.provider.faults.add(ProviderFault(provider="twilio", kind="status", status=503, times=None))
    patient = sending.sms()
    patient.retry = Retry(first=timedelta(milliseconds=20))
    (before,) = await sending.go(patient)
    away = sending.sms(f"http://127.0.0.1:{nobody()}/twilio")
    away.retry = replace(patient.retry)
    after = await sending.look(away)
    assert after["first_attempt_at"] == before["first_attempt_at"] is not None
    assert (await sending.look(impatient(away)))["status"] == "failed"


async def test_a_message_that_was_never_tried_ends_when_it_is_too_late_to_be_useful(sending):
    away = impatient(sending.sms(f"http://127.0.0.1:{nobody()}/twilio"))
    await sending.go(away)
    async with sending.database.transaction() as connection:
        await connection.execute("UPDATE messages SET expires_at = clock_timestamp()")
    (row,) = await sending.later(away)
    assert (row["status"], row["attempts"]) == ("withheld", 1)
    assert '"expired"' in row["reasons"]


async def test_a_browser_that_cannot_be_reached_is_asked_less_and_less_often(sending):
    key = {"p256dh": WebPush(vapid_key(), "mailto:ops@tenure.example").public, "auth": "a2tra2tra2tra2tra2traw"}
    subscription = {"endpoint": f"http://127.0.0.1:{nobody()}/browser", "keys": key}
    channel = PushChannel(
        templates(sending.folder), sending.way, Reach(near=True), web=WebPush(vapid_key(), "mailto:ops@tenure.example")
    )
    channel.retry = Retry(first=timedelta(milliseconds=20))
    guard = GuardedChannel(channel)
    (before,) = await sending.go(guard, push_subscription=subscription)
    after = await sending.look(guard)
    assert guard.state == "closed", "one browser's service is not the provider"
    assert after["due_at"] - after["decided_at"] > before["due_at"] - before["decided_at"]


async def test_what_nobody_can_be_asked_about_is_asked_less_and_less_often_and_unknown_in_the_end(sending):
    faults = sending.local.provider.faults
    faults.add(ProviderFault(provider="slack", kind="reset_after_accept"))
    faults.add(ProviderFault(provider="slack", kind="status", status=503, times=None))
    chat = SlackChannel(
        templates(sending.folder),
        sending.way,
        Reach(near=True),
        SlackSettings(KEY, "C0ALL", f"{sending.local.url}/slack"),
    )
    (row,) = await sending.go(chat)
    assert (row["status"], row["attempts"]) == ("sending", 1)
    waiting = await asked_after(sending, chat, timedelta(minutes=10))
    assert (waiting["status"], waiting["detail"]) == ("sending", "the provider cannot be searched now")
    assert timedelta(minutes=9) < waiting["lease_until"] - datetime.now(UTC) < timedelta(minutes=11)
    assert (await asked_after(sending, chat, timedelta(hours=25)))["status"] == "unknown", "for a person"


async def test_H7_what_may_have_arrived_is_unknown_and_not_withheld_when_its_state_was_left_before_the_next_try(
    sending,
):
    hook = WebhookChannel(
        templates(sending.folder),
        sending.way,
        Reach(near=True),
        WebhookSettings(f"{sending.local.url}/receiver/", WEBHOOK_SECRET),
    )
    sending.local.provider.faults.add(ProviderFault(provider="receiver", kind="reset_after_accept"))
    await sending.go(hook)
    async with sending.database.transaction() as connection:
        await execute(connection, sql("UPDATE runs SET state = 'done'"))
    row = await asked_after(sending, hook, timedelta(minutes=1))
    assert row["status"] == "unknown"
    assert '"state_left"' in row["reasons"], "why it was not tried again"
    assert len(sending.local.provider.accepted.search(provider="receiver")) == 1


async def doubtful(sending: Sending) -> tuple[WebhookChannel, Any]:
    """A message that has arrived, that nobody saw arrive, and whose second try did not leave."""
    url, faults = f"{sending.local.url}/receiver/", sending.local.provider.faults
    hook = WebhookChannel(
        templates(sending.folder), sending.way, Reach(near=True), WebhookSettings(url, WEBHOOK_SECRET)
    )
    faults.add(ProviderFault(provider="receiver", kind="reset_after_accept"))
    faults.add(ProviderFault(provider="receiver", kind="status", status=503))
    await sending.go(hook)
    row = await asked_after(sending, hook, timedelta(minutes=1))
    assert (row["status"], row["in_doubt"]) == ("deferred", True)
    return hook, row


async def test_doubt_outlives_a_wait_what_is_withdrawn_meanwhile_is_unknown_and_counts_as_sent(sending):
    hook, row = await doubtful(sending)
    async with sending.database.transaction() as connection:
        left = WithdrawnMessages("here was left for done", datetime.now(UTC))
        await withdraw_queued(connection, row["run"], left, left.at)
    (row,) = await sending.ledger()
    assert (row["status"], row["sent_at"] is not None) == ("unknown", True), "a cap counts it"
    assert len(await sending.later(hook)) == len(sending.local.provider.accepted.search(provider="receiver")) == 1


async def test_what_is_in_doubt_is_not_tried_again_when_its_provider_may_have_forgotten_our_key(sending):
    hook, _ = await doubtful(sending)
    async with sending.database.transaction() as connection:
        await execute(connection, sql("UPDATE messages SET due_at = clock_timestamp()"))
    row = await asked_after(sending, hook, hook.retry.within + timedelta(hours=1))
    assert (row["status"], len(sending.local.provider.accepted.search(provider="receiver"))) == ("unknown", 1)
    assert "too late" in row["detail"]


async def test_what_is_in_doubt_arrives_once_when_it_is_tried_again_in_time(sending):
    hook, _ = await doubtful(sending)
    async with sending.database.transaction() as connection:
        await execute(connection, sql("UPDATE messages SET due_at = clock_timestamp()"))
    (row,) = await sending.later(hook)
    assert (row["status"], len(sending.local.provider.accepted.search(provider="receiver"))) == ("sent", 1)


async def test_what_is_in_doubt_and_then_refused_is_unknown_and_not_failed(sending):
    hook, _ = await doubtful(sending)
    sending.local.provider.faults.add(ProviderFault(provider="receiver", kind="status", status=410))
    async with sending.database.transaction() as connection:
        await execute(connection, sql("UPDATE messages SET due_at = clock_timestamp()"))
    row = await asked_after(sending, hook, timedelta(minutes=1))
    assert (row["status"], len(sending.local.provider.accepted.search(provider="receiver"))) == ("unknown", 1)
    assert row["detail"].startswith("410")
