"""A retry goes to the channel and address that the gate has just chosen, and is rendered for them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest_asyncio

from activities.channels.email.relay_settings import SmtpRelay
from activities.channels.email.smtp import EmailChannel, EmailSettings
from activities.channels.in_app import InAppChannel
from activities.delivery import outreach
from activities.dependencies import Dependencies
from activities.outgoing.client import HttpClient
from activities.ports import Ambiguity, Channel
from activities.steps import apply as steps
from journeys.consent.changes import ConsentChange
from journeys.events.inbound import InboundEvent
from journeys.gate.policy import load_policy
from journeys.protocol import wire
from store.consent import suppressions
from store.database import Database, execute, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.events import ingest
from store.events.changes import change_consents
from tests.integration.gate.test_digest_parts import DROPS_CONNECTION
from tests.support.provider import PHONE, channels_at, templates
from tests.support.steps import first_steps, publish
from worker.stack.mail_sink import MailFaults
from worker.stack.mail_sink import listen_for_mail as mail_server
from worker.stack.maildir import Maildir
from worker.stack.providers.serving import LocalProvider

JOURNEY = """
journey: urgent
entry: {on: signed_up, again: never}
topic: notices
start: here
states:
  here: {do: [{send: export/ready, name: it, via: [VIA]}], on: {left: done}}
  done: {final: done}
"""
BUSY = "ada@busy.example"
"""The relay answers 451 for this address."""
_DUE = sql(
    """
    UPDATE messages SET due_at = CASE WHEN status = 'deferred' THEN clock_timestamp() END,
      lease_until = CASE WHEN status = 'sending' THEN clock_timestamp() END
    """
)
_SECOND = sql(
    """
    INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via,
      priority, topic, at, data, status, due_at, decided_at)
    SELECT key || '2', run, step, subject_key, recipient, journey, state, visit, action || '2', template, '["in_app"]',
      priority, topic, at, data, 'deferred', now(), now() FROM messages
    """
)
_YESTERDAY = sql("UPDATE messages SET first_attempt_at = first_attempt_at - interval '25 hours'")


@dataclass
class Ada:
    """One person, one message to her, and the channels for it."""

    deps: Dependencies
    mails: Maildir
    others: Mapping[str, Channel]
    local: LocalProvider
    events: int = 0

    async def identify(self, **traits: Any) -> None:
        self.events += 1
        call = InboundEvent(
            "identify", f"i{self.events}", "identify", user_id="ada", traits={"first_name": "Ada", **traits}
        )
        await ingest.accept(self.deps.database, self.deps.catalogue, [call], source="test")

    async def request(self, via: str, faults: MailFaults = MailFaults(), **traits: Any) -> Any:
        """Request the message and make its first attempt; its row."""
        await self.identify(**traits)
        await publish(self.deps.database, JOURNEY.replace("VIA", via))
        entered = InboundEvent("track", "e", "signed_up", user_id="ada")
        await ingest.accept(self.deps.database, self.deps.catalogue, [entered], source="test")
        ((_, step),) = (await first_steps(self.deps.database, self.deps.catalogue, "signed_up")).items()
        async with self.with_relay(faults) as deps:
            await steps.apply_step(deps, wire.StepInput(**step))
        return await self.row()

    async def retry(self, faults: MailFaults = MailFaults()) -> Any:
        """Make the next attempt; the row."""
        before = await self.row()
        async with self.deps.database.transaction() as connection:
            await execute(connection, _DUE)
        async with self.with_relay(faults) as deps:
            request = wire.SettleInput(before["recipient"], datetime.now(UTC).isoformat())
            await outreach.settle_due(deps, request, {})
        return await self.row()

    async def row(self) -> Any:
        (row,) = await self.rows("SELECT * FROM messages")
        return row

    async def rows(self, statement: str) -> list[Any]:
        async with self.deps.database.reading() as connection:
            return list(await fetch_all(connection, sql(statement)))

    async def opt_out(self, channel: str) -> None:
        person = (await self.row())["recipient"]
        change = ConsentChange(channel, "notices", granted=False, source="test")
        effect = await change_consents(self.deps.database, self.deps.catalogue, self.deps.policy, person, [change])
        assert effect.withdrawn == 0, "another channel remains"

    @contextlib.asynccontextmanager
    async def with_relay(self, faults: MailFaults) -> AsyncIterator[Dependencies]:
        """The dependencies with a relay that has these faults."""
        async with await mail_server(self.mails.folder, faults=faults) as sink:
            loaded = templates(self.mails.folder.parent)
            relay = SmtpRelay(host="127.0.0.1", port=sink.sockets[0].getsockname()[1])
            email = EmailChannel(loaded, EmailSettings(relay=relay, ambiguity=Ambiguity.AT_LEAST_ONCE))
            channels: dict[str, Channel] = {"email": email, "in_app": InAppChannel(loaded), **self.others}
            yield Dependencies(self.deps.database, self.deps.catalogue, self.deps.policy, channels)
            await email.close()

    async def another_message(self) -> None:
        """A second message to her, by the inbox, due like the first."""
        async with self.deps.database.transaction() as connection:
            await execute(connection, _SECOND)

    async def retry_without(self, channel: str) -> list[Any]:
        """Settle what is due with a worker that has no such channel; all messages."""
        before = (await self.rows("SELECT recipient FROM messages"))[0]
        async with self.deps.database.transaction() as connection:
            await execute(connection, _DUE)
        async with self.with_relay(MailFaults()) as deps:
            channels = {name: kept for name, kept in deps.channels.items() if name != channel}
            request = wire.SettleInput(before["recipient"], datetime.now(UTC).isoformat())
            await outreach.settle_due(replace(deps, channels=channels), request, {})
        return await self.rows("SELECT * FROM messages ORDER BY id")

    def delivered_to(self) -> list[tuple[str, str]]:
        """For every mail: the envelope address and the To header."""
        mails = [message_from_bytes(path.read_bytes()) for path in sorted((self.mails.folder / "new").iterdir())]
        return [(mail["Delivered-To"], mail["To"]) for mail in mails]


@pytest_asyncio.fixture
async def ada(database_url: str, tmp_path: Path, local: LocalProvider, http_client: HttpClient) -> AsyncIterator[Ada]:
    database = Database(database_url, pool=2)
    deps = Dependencies(database, DefinitionRegistry(), load_policy({"consent": [{"default": "granted"}]}), {})
    others = channels_at(local, templates(tmp_path), http_client)
    yield Ada(deps, Maildir(tmp_path / "mail"), {name: others[name] for name in ("sms", "support")}, local)
    await database.close()


async def test_C5_a_retry_that_may_only_go_to_the_inbox_is_rendered_for_the_inbox(ada: Ada) -> None:
    before = await ada.request("email, in_app", email=BUSY)
    assert (before["status"], before["channel"]) == ("deferred", "email")
    await ada.opt_out("email")
    after = await ada.retry()
    assert (after["status"], after["channel"]) == ("sent", "in_app")
    (shown,) = await ada.rows("SELECT content->>'title' AS title FROM inbox")
    assert shown["title"] == "Your export is ready, Ada"


async def test_C5_a_retry_by_sms_is_rendered_for_sms_and_goes_to_the_phone_number(ada: Ada) -> None:
    await ada.request("email, sms", email=BUSY, phone=PHONE)
    await ada.opt_out("email")
    after = await ada.retry()
    assert (after["status"], after["channel"]) == ("sent", "sms")
    (sms,) = ada.local.provider.accepted.search(provider="twilio")
    assert sms["to"] == PHONE
    assert sms["content"]["Body"].startswith("Your export is ready")


async def test_C5_a_retry_by_another_channel_to_the_same_address_is_rendered_for_that_channel(ada: Ada) -> None:
    await ada.request("email, support", email=BUSY)
    await ada.opt_out("email")
    after = await ada.retry()
    assert (after["status"], after["channel"]) == ("sent", "support")
    (ticket,) = ada.local.provider.accepted.search(provider="zendesk")
    assert "Your export is ready" in str(ticket)


async def test_C5_a_retry_goes_to_the_current_address_and_not_to_a_suppressed_one(
    ada: Ada,
) -> None:
    before = await ada.request("email", email=BUSY)
    async with ada.deps.database.transaction() as connection:
        await suppressions.suppress(
            connection, ada.deps.catalogue.consent.addresses, "email", BUSY, reason="complaint", source="test",
            at=datetime.now(UTC),
        )  # fmt: skip
    await ada.identify(email="ada@example.com")
    after = await ada.retry()
    assert (after["status"], after["address"]) == ("sent", "ada@example.com")
    assert ada.delivered_to() == [("ada@example.com", "ada@example.com")], (
        "envelope and header have the current address"
    )
    assert after["reference"] == before["reference"], "it is still the same message"


async def test_a_retry_to_the_same_address_sends_the_same_bytes(ada: Ada) -> None:
    before = await ada.request("email", email=BUSY)
    await ada.identify(email=BUSY, first_name="Grace")
    after = await ada.retry()
    assert (after["attempts"], after["body"]) == (2, before["body"])


async def test_a_message_in_doubt_is_unknown_when_the_address_has_changed(ada: Ada) -> None:
    before = await ada.request("email, in_app", DROPS_CONNECTION, email="ada@example.com")
    assert before["status"] == "sending"
    await ada.identify(email="ada@elsewhere.example")
    after = await ada.retry()
    assert (after["status"], after["channel"], after["address"]) == ("unknown", "email", "ada@example.com")
    assert "address has changed" in after["detail"]
    assert [to for to, _ in ada.delivered_to()] == ["ada@example.com"]


async def test_C5_a_message_in_doubt_is_unknown_when_its_channel_is_opted_out(ada: Ada) -> None:
    await ada.request("email, in_app", DROPS_CONNECTION, email="ada@example.com")
    await ada.opt_out("email")
    after = await ada.retry()
    assert (after["status"], after["channel"]) == ("unknown", "email")
    assert "consent_withdrawn" in after["reasons"]
    assert await ada.rows("SELECT key FROM inbox") == []


async def test_a_message_in_doubt_is_retried_on_its_own_channel_when_a_preferred_one_appears(ada: Ada) -> None:
    before = await ada.request("sms, email", DROPS_CONNECTION, email="ada@example.com")
    assert (before["status"], before["channel"]) == ("sending", "email")
    await ada.identify(phone=PHONE)
    after = await ada.retry()
    assert (after["status"], after["channel"]) == ("sent", "email")
    assert ada.mails.message_ids() == {before["reference"]: 2}
    assert ada.local.provider.accepted.search(provider="twilio") == []


async def test_the_retry_window_restarts_at_a_new_address(ada: Ada) -> None:
    await ada.request("email", email=BUSY)
    async with ada.deps.database.transaction() as connection:
        await execute(connection, _YESTERDAY)
    await ada.identify(email="grace@busy.example")
    after = await ada.retry()
    assert after["status"] == "deferred", "not given up"
    assert after["first_attempt_at"] > datetime.now(UTC) - timedelta(minutes=1)


async def test_A3_a_message_in_flight_by_a_channel_that_is_taken_away_is_unknown_and_stops_no_other(ada: Ada) -> None:
    await ada.request("email, in_app", DROPS_CONNECTION, email="ada@example.com")
    await ada.another_message()
    after = await ada.retry_without("email")
    assert [(row["status"], row["channel"]) for row in after] == [("unknown", "email"), ("sent", "in_app")]
    assert "no provider is configured for email" in after[0]["detail"]


async def test_A3_a_message_in_doubt_that_waits_for_a_channel_that_is_taken_away_is_unknown(ada: Ada) -> None:
    await ada.request("email", DROPS_CONNECTION, email="ada@example.com")
    async with ada.deps.database.transaction() as connection:
        await execute(connection, sql("UPDATE messages SET status = 'deferred', in_doubt = true, lease_until = NULL"))
    (after,) = await ada.retry_without("email")
    assert (after["status"], after["channel"]) == ("unknown", "email")
    assert "no provider is configured for email" in after["detail"]


async def test_A3_a_message_that_has_failed_goes_by_another_channel(ada: Ada) -> None:
    before = await ada.request("email, in_app", email=BUSY)
    assert (before["status"], before["channel"]) == ("deferred", "email")
    (after,) = await ada.retry_without("email")
    assert (after["status"], after["channel"]) == ("sent", "in_app")


async def test_A3_a_message_that_has_failed_and_has_no_other_channel_is_withheld_with_the_reason(ada: Ada) -> None:
    await ada.request("email", email=BUSY)
    (after,) = await ada.retry_without("email")
    assert after["status"] == "withheld"
    assert "no provider is configured for email" in after["reasons"]
