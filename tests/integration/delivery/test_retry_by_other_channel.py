"""A retry goes to whom the gate has just judged: what was rendered for another channel or address is not sent there."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
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
from tests.integration.gate.test_digest_parts import DROPS
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
"""At an address like this a relay says: not now."""
_DUE = sql(
    """
    UPDATE messages SET due_at = CASE WHEN status = 'deferred' THEN clock_timestamp() END,
      lease_until = CASE WHEN status = 'sending' THEN clock_timestamp() END
    """
)
_YESTERDAY = sql("UPDATE messages SET first_attempt_at = first_attempt_at - interval '25 hours'")


@dataclass
class Ada:
    """One person, one message to her, and the channels by which it may go."""

    deps: Dependencies
    mails: Maildir
    others: Mapping[str, Channel]
    local: LocalProvider
    said: int = 0

    async def known(self, **traits: Any) -> None:
        self.said += 1
        call = InboundEvent(
            "identify", f"i{self.said}", "identify", user_id="ada", traits={"first_name": "Ada", **traits}
        )
        await ingest.accept(self.deps.database, self.deps.catalogue, [call], source="test")

    async def asked(self, via: str, faults: MailFaults = MailFaults(), **traits: Any) -> Any:
        """The message is asked for, and its first attempt made; its row."""
        await self.known(**traits)
        await publish(self.deps.database, JOURNEY.replace("VIA", via))
        entered = InboundEvent("track", "e", "signed_up", user_id="ada")
        await ingest.accept(self.deps.database, self.deps.catalogue, [entered], source="test")
        ((_, step),) = (await first_steps(self.deps.database, self.deps.catalogue, "signed_up")).items()
        async with self.by(faults) as deps:
            await steps.apply_step(deps, wire.StepInput(**step))
        return await self.row()

    async def again(self, faults: MailFaults = MailFaults()) -> Any:
        """The next attempt; the row."""
        before = await self.row()
        async with self.deps.database.transaction() as connection:
            await execute(connection, _DUE)
        async with self.by(faults) as deps:
            request = wire.SettleInput(before["recipient"], datetime.now(UTC).isoformat())
            await outreach.settle_due(deps, request, {})
        return await self.row()

    async def row(self) -> Any:
        (found,) = await self.rows("SELECT * FROM messages")
        return found

    async def rows(self, statement: str) -> list[Any]:
        async with self.deps.database.reading() as connection:
            return list(await fetch_all(connection, sql(statement)))

    async def refuse(self, channel: str) -> None:
        person = (await self.row())["recipient"]
        change = ConsentChange(channel, "notices", granted=False, source="test")
        effect = await change_consents(self.deps.database, self.deps.catalogue, self.deps.policy, person, [change])
        assert effect.withdrawn == 0, "another channel remains"

    @contextlib.asynccontextmanager
    async def by(self, faults: MailFaults) -> AsyncIterator[Dependencies]:
        """The house with its relay as it is now."""
        async with await mail_server(self.mails.folder, faults=faults) as sink:
            known = templates(self.mails.folder.parent)
            relay = SmtpRelay(host="127.0.0.1", port=sink.sockets[0].getsockname()[1])
            email = EmailChannel(known, EmailSettings(relay=relay, ambiguity=Ambiguity.AT_LEAST_ONCE))
            channels: dict[str, Channel] = {"email": email, "in_app": InAppChannel(known), **self.others}
            yield Dependencies(self.deps.database, self.deps.catalogue, self.deps.policy, channels)
            await email.close()

    def arrived(self) -> list[tuple[str, str]]:
        """Of every mail, at which address, and what it is called."""
        found = [message_from_bytes(each.read_bytes()) for each in sorted((self.mails.folder / "new").iterdir())]
        return [(each["Delivered-To"], each["To"]) for each in found]


@pytest_asyncio.fixture
async def ada(database_url: str, tmp_path: Path, local: LocalProvider, way: HttpClient) -> AsyncIterator[Ada]:
    database = Database(database_url, pool=2)
    deps = Dependencies(database, DefinitionRegistry(), load_policy({"consent": [{"default": "granted"}]}), {})
    others = channels_at(local, templates(tmp_path), way)
    yield Ada(deps, Maildir(tmp_path / "mail"), {name: others[name] for name in ("sms", "support")}, local)
    await database.close()


async def test_C5_a_retry_that_may_go_to_the_inbox_only_is_written_for_the_inbox(ada: Ada) -> None:
    before = await ada.asked("email, in_app", email=BUSY)
    assert (before["status"], before["channel"]) == ("deferred", "email")
    await ada.refuse("email")
    after = await ada.again()
    assert (after["status"], after["channel"]) == ("sent", "in_app")
    (shown,) = await ada.rows("SELECT content->>'title' AS title FROM inbox")
    assert shown["title"] == "Your export is ready, Ada"


async def test_C5_a_retry_by_sms_has_the_words_and_the_number_of_an_sms(ada: Ada) -> None:
    await ada.asked("email, sms", email=BUSY, phone=PHONE)
    await ada.refuse("email")
    after = await ada.again()
    assert (after["status"], after["channel"]) == ("sent", "sms")
    (taken,) = ada.local.provider.accepted.search(provider="twilio")
    assert taken["to"] == PHONE
    assert taken["content"]["Body"].startswith("Your export is ready")


async def test_C5_a_retry_by_another_channel_to_the_same_address_is_written_for_that_channel(ada: Ada) -> None:
    await ada.asked("email, support", email=BUSY)
    await ada.refuse("email")
    after = await ada.again()
    assert (after["status"], after["channel"]) == ("sent", "support")
    (ticket,) = ada.local.provider.accepted.search(provider="zendesk")
    assert "Your export is ready" in str(ticket)


async def test_C5_a_retry_goes_to_the_address_that_the_gate_has_judged_and_not_to_one_that_is_suppressed(
    ada: Ada,
) -> None:
    before = await ada.asked("email", email=BUSY)
    async with ada.deps.database.transaction() as connection:
        await suppressions.suppress(
            connection, ada.deps.catalogue.consent.addresses, "email", BUSY, reason="complaint", source="test",
            at=datetime.now(UTC),
        )  # fmt: skip
    await ada.known(email="ada@example.com")
    after = await ada.again()
    assert (after["status"], after["address"]) == ("sent", "ada@example.com")
    assert ada.arrived() == [("ada@example.com", "ada@example.com")], "envelope and words are for whom it is now"
    assert after["reference"] == before["reference"], "it is still the same message"


async def test_a_retry_to_the_same_address_sends_the_same_bytes(ada: Ada) -> None:
    before = await ada.asked("email", email=BUSY)
    await ada.known(email=BUSY, first_name="Grace")
    after = await ada.again()
    assert (after["attempts"], after["body"]) == (2, before["body"])


async def test_what_may_have_arrived_at_an_address_that_has_changed_is_unknown(ada: Ada) -> None:
    before = await ada.asked("email, in_app", DROPS, email="ada@example.com")
    assert before["status"] == "sending"
    await ada.known(email="ada@elsewhere.example")
    after = await ada.again()
    assert (after["status"], after["channel"], after["address"]) == ("unknown", "email", "ada@example.com")
    assert "address has changed" in after["detail"]
    assert [to for to, _ in ada.arrived()] == ["ada@example.com"]


async def test_C5_what_may_have_arrived_by_a_channel_that_is_refused_now_comes_by_no_other(ada: Ada) -> None:
    await ada.asked("email, in_app", DROPS, email="ada@example.com")
    await ada.refuse("email")
    after = await ada.again()
    assert (after["status"], after["channel"]) == ("unknown", "email")
    assert "consent_withdrawn" in after["reasons"]
    assert await ada.rows("SELECT key FROM inbox") == []


async def test_what_may_have_arrived_goes_again_by_its_own_channel_though_a_better_one_is_there_now(ada: Ada) -> None:
    before = await ada.asked("sms, email", DROPS, email="ada@example.com")
    assert (before["status"], before["channel"]) == ("sending", "email")
    await ada.known(phone=PHONE)
    after = await ada.again()
    assert (after["status"], after["channel"]) == ("sent", "email")
    assert ada.mails.message_ids() == {before["reference"]: 2}
    assert ada.local.provider.accepted.search(provider="twilio") == []


async def test_the_time_for_tries_begins_with_the_first_at_this_address(ada: Ada) -> None:
    await ada.asked("email", email=BUSY)
    async with ada.deps.database.transaction() as connection:
        await execute(connection, _YESTERDAY)
    await ada.known(email="grace@busy.example")
    after = await ada.again()
    assert after["status"] == "deferred", "not given up"
    assert after["first_attempt_at"] > datetime.now(UTC) - timedelta(minutes=1)
