"""An attempt with an unknown result: it is looked up or retried, by the channel's policy, without holding locks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities.channels.email.relay_settings import SmtpRelay
from activities.channels.email.smtp import EmailChannel, EmailSettings
from activities.channels.http.channel import Reach
from activities.channels.push.channel import PushChannel
from activities.channels.push.web_push import WebPush
from activities.channels.slack import SlackChannel, SlackSettings
from activities.channels.webhook import WebhookChannel, WebhookSettings
from activities.channels.zendesk import ZendeskChannel, ZendeskSettings
from activities.channels.zoom import ZoomChannel, ZoomSettings
from activities.delivery.recovery import NEAR_SEARCH
from activities.ports import Channel
from store.database import execute, sql
from store.people import subjects
from tests.support.provider import templates, vapid_key
from tests.support.sending import Sending, closed_port, settled_after
from worker.stack.providers.environment import KEY, WEBHOOK_SECRET
from worker.stack.providers.faults import ProviderFault

NEAR = Reach(near=True)
MINUTE = timedelta(minutes=1)


def is_leased_for(row: Any, seconds: float) -> bool:
    """Whether the attempt just made has a lease of so many seconds, beside the time that it took."""
    left = (row["lease_until"] - row["decided_at"]).total_seconds()
    return bool(row["status"] == "sending" and seconds <= left < 1.9 * seconds)


async def assert_leases_grow(sending: Sending, channel: Channel, row: Any, *seconds: float) -> None:
    """Retry as often as there are `seconds`; each attempt must have such a lease."""
    for attempt, wait in enumerate(seconds, 1):
        assert row["attempts"] == attempt
        assert is_leased_for(row, wait), f"after {attempt}: {row['lease_until'] - row['decided_at']}"
        row = await settled_after(sending, channel, MINUTE)


# -- retries -----------------------------------------------------------------------------------------------------------


async def test_a_browser_push_service_that_always_fails_is_retried_with_growing_waits(sending):
    web = WebPush(vapid_key(), "mailto:ops@tenure.example")
    keys = {"p256dh": web.public, "auth": "a2tra2tra2tra2tra2traw"}
    browser = {"endpoint": f"{sending.local.url}/webpush/browser", "keys": keys}
    channel = PushChannel(templates(sending.folder), sending.http_client, NEAR, web=web)
    sending.local.provider.faults.add(ProviderFault(provider="webpush", kind="status", status=502, times=None))
    (row,) = await sending.first_attempts(channel, push_subscription=browser)
    await assert_leases_grow(sending, channel, row, 2, 4, 8, 16)


async def test_a_webhook_receiver_that_never_answers_is_retried_on_the_standard_schedule(sending):
    hook = WebhookSettings(f"{sending.local.url}/receiver/", WEBHOOK_SECRET)
    channel = WebhookChannel(templates(sending.folder), sending.http_client, NEAR, hook)
    sending.local.provider.faults.add(ProviderFault(provider="receiver", kind="reset_after_accept", times=None))
    (row,) = await sending.first_attempts(channel)
    await assert_leases_grow(sending, channel, row, 5, 300, 1800, 7200)


# -- lookups -----------------------------------------------------------------------------------------------------------


async def test_a_failed_message_is_looked_up_soon_and_retried_with_growing_waits(sending):
    settings = SlackSettings(KEY, "C0ALL", f"{sending.local.url}/slack")
    channel = SlackChannel(templates(sending.folder), sending.http_client, NEAR, settings)
    failing = ProviderFault(provider="slack", kind="status", status=502, times=None, to="chat.postMessage")
    sending.local.provider.faults.add(failing)
    (row,) = await sending.first_attempts(channel)
    waits = []
    for _ in range(3):
        assert is_leased_for(row, 2), "the lookup is soon"
        row = await settled_after(sending, channel, MINUTE)
        assert (row["status"], row["detail"], row["in_doubt"]) == ("deferred", "the provider does not have it", False)
        waits.append((row["due_at"] - row["decided_at"]).total_seconds())
        async with sending.database.transaction() as connection:
            await execute(connection, sql("UPDATE messages SET due_at = clock_timestamp()"))
        row = await settled_after(sending, channel, MINUTE)
    assert waits == pytest.approx([2, 4, 8])
    given_up = await settled_after(sending, channel, timedelta(hours=25))
    assert (given_up["status"], given_up["detail"]) == ("failed", "given up: the provider does not have it")


async def test_a_message_of_a_dead_process_is_retried_at_once_if_the_provider_does_not_have_it(sending):
    settings = SlackSettings(KEY, "C0ALL", f"{sending.local.url}/slack")
    channel = SlackChannel(templates(sending.folder), sending.http_client, NEAR, settings)
    sending.local.provider.faults.add(ProviderFault(provider="slack", kind="reset"))
    await sending.first_attempts(channel)
    async with sending.database.transaction() as connection:
        await execute(connection, sql("UPDATE messages SET sent_at = sent_at - interval '4 seconds'"))
    row = await settled_after(sending, channel, MINUTE)
    assert (row["status"], row["due_at"] < datetime.now(UTC)) == ("deferred", True)
    (row,) = await sending.settle_all(channel)
    assert (row["status"], row["attempts"]) == ("sent", 2)


async def test_a_registrant_is_found_among_hundreds_at_a_slow_provider(sending):
    url = sending.local.url
    zoom = ZoomSettings("acc", "client", KEY, f"{url}/zoom/v2", f"{url}/zoom/oauth/token")
    channel = ZoomChannel(templates(sending.folder), sending.http_client, NEAR, zoom)
    for number in range(400):
        email = f"grace-{number}@example.com"
        person = {"email": email, "first_name": "Grace"}
        sending.local.provider.accepted.add("zoom", to=email, content=person, webinar="987654321")
    sending.local.provider.faults.add(ProviderFault(provider="zoom", kind="reset_after_accept", to="registrants"))
    await sending.first_attempts(channel, data="{webinar_id: \"'987654321'\"}", email="ada@example.com")
    sending.local.provider.faults.add(ProviderFault(provider="zoom", kind="slow", seconds=0.7, times=None))
    row = await settled_after(sending, channel, MINUTE)
    assert (row["status"], row["detail"]) == ("sent", "found at the provider")


async def test_a_comment_is_found_among_long_comments_at_a_slow_help_desk(sending):
    desk = ZendeskSettings(f"{sending.local.url}/zendesk", "agent@x.example", KEY)
    channel = ZendeskChannel(templates(sending.folder), sending.http_client, NEAR, desk)
    for number in range(30):
        comment = {"comment": {"body": "w" * 6_000}, "metadata": {"key": f"k{number}"}}
        sending.local.provider.accepted.add("zendesk", to="77", content=comment, kind="comment")
    sending.local.provider.faults.add(ProviderFault(provider="zendesk", kind="reset_after_accept"))
    await sending.first_attempts(channel, data="{ticket_id: \"'77'\"}", email="ada@example.com")
    sending.local.provider.faults.add(ProviderFault(provider="zendesk", kind="slow", seconds=0.7, times=None))
    row = await settled_after(sending, channel, MINUTE)
    assert (row["status"], row["detail"]) == ("sent", "found at the provider")


@dataclass
class SlowSearch:
    """A search for mails that answers when the test sets `answer`."""

    begun: threading.Event = field(default_factory=threading.Event)
    answer: threading.Event = field(default_factory=threading.Event)

    def __call__(self, _: str) -> bool:
        self.begun.set()
        return self.answer.wait(30)

    @contextlib.asynccontextmanager
    async def during_search(self, sending: Sending) -> AsyncIterator[Any]:
        """Run the body while the search for the only message is in progress; afterwards the search answers."""
        relay = SmtpRelay(host="127.0.0.1", port=closed_port())
        channel = EmailChannel(templates(sending.folder), EmailSettings(relay=relay), search=self)
        await sending.first_attempts(channel, email="ada@example.com")
        async with sending.database.transaction() as connection:
            await execute(connection, sql("UPDATE messages SET status = 'sending', attempts = 1, due_at = NULL"))
        look = asyncio.create_task(settled_after(sending, channel, MINUTE))
        try:
            assert await asyncio.to_thread(self.begun.wait, 10)
            yield (await sending.ledger())[0]
            self.answer.set()
            await look
        finally:
            self.answer.set()
            await channel.close()


async def test_a_lookup_at_the_provider_does_not_hold_the_lock_of_the_person(sending):
    async with (
        SlowSearch().during_search(sending) as row,
        asyncio.timeout(3),
        sending.database.transaction() as connection,
    ):
        assert row["recipient"] in await subjects.lock_subjects(connection, [row["recipient"]])
    (row,) = await sending.ledger()
    assert (row["status"], row["detail"]) == ("sent", "found at the provider")


async def test_the_result_of_a_lookup_does_not_settle_a_later_attempt(sending):
    async with SlowSearch().during_search(sending), sending.database.transaction() as connection:
        await execute(connection, sql("UPDATE messages SET attempts = 2, detail = 'the other one'"))
    (row,) = await sending.ledger()
    assert (row["status"], row["attempts"], row["detail"]) == ("sending", 2, "the other one")


async def test_a_lookup_that_times_out_is_repeated_later(sending):
    search = SlowSearch()
    async with search.during_search(sending), asyncio.timeout(NEAR_SEARCH.total_seconds() + 5):
        while (await sending.ledger())[0]["detail"] != "the provider cannot be searched now":
            await asyncio.sleep(0.05)
    (row,) = await sending.ledger()
    assert row["lease_until"] > datetime.now(UTC) + MINUTE / 2, "the wait doubles"
