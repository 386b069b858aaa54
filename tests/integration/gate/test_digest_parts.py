"""C4: a part of a digest ends as the digest does. What was never sent does not read as sent, and its run hears of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from activities.channels.allow_list import AllowList, AllowListedChannel
from activities.channels.email.relay_settings import SmtpRelay
from activities.channels.email.smtp import EmailChannel, EmailSettings
from activities.content.templates import load_templates
from activities.dependencies import Dependencies
from activities.ports import Channel, Retry
from activities.steps import apply as steps
from journeys.events.inbound import InboundEvent
from journeys.gate.policy import load_policy
from journeys.protocol import wire
from store.database import Database, execute, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.events import ingest
from store.messages.resend import resend_message
from store.reads.messages import parts_of_message
from tests.support.steps import first_steps, publish, settle
from worker.settings import ROOT
from worker.stack.mail_sink import MailFaults
from worker.stack.mail_sink import listen_for_mail as mail_server
from worker.stack.maildir import Maildir

POLICY = {
    "consent": [{"default": "granted"}],
    "cooldowns": [{"name": "breath", "channel": "email", "between": "PT0.5S"}],
    "consolidate": [{"name": "one", "channel": "email", "window": "PT1H", "template": "digest/together"}],
}
JOURNEY = """
journey: {name}
entry: {{on: signed_up, again: never}}
start: inside
states:
  inside:
    do: [{{send: setup/first-steps, via: [email], name: tip}}]
    on: {{tip.sent: told, tip.failed: lost, tip.withheld: kept}}
  told: {{final: told}}
  lost: {{final: lost}}
  kept: {{final: kept}}
"""
DROPS = MailFaults(close_after_accept_rate=1.0)
"""The relay takes a mail and hangs up: nobody knows."""


@dataclass
class Three:
    """Ada, whom three journeys write to: the first at once, the others together when the cooldown ends."""

    deps: Dependencies
    folder: Path
    said: int = 0

    async def known(self, email: str) -> None:
        self.said += 1
        call = InboundEvent("identify", f"i{self.said}", "identify", user_id="ada", traits={"email": email})
        await ingest.accept(self.deps.database, self.deps.catalogue, [call], source="test")

    async def begin(self) -> None:
        """One has gone, two wait."""
        await self.known("ada@example.com")
        for name in ("a", "b", "c"):
            await publish(self.deps.database, JOURNEY.format(name=name))
        entered = InboundEvent("track", "e", "signed_up", user_id="ada")
        await ingest.accept(self.deps.database, self.deps.catalogue, [entered], source="test")
        found = await first_steps(self.deps.database, self.deps.catalogue, "signed_up")
        for _, step in sorted(found.items()):
            await steps.apply_step(self.deps, wire.StepInput(**step))
        assert [each["status"] for each in await self.ledger()] == ["sent", "deferred", "deferred"]

    @property
    def mails(self) -> Maildir:
        return Maildir(self.folder)

    @contextlib.asynccontextmanager
    async def by(
        self, faults: MailFaults = MailFaults(), search: Any = None, **settings: Any
    ) -> AsyncIterator[Dependencies]:
        """The house with another way to send mail."""
        async with await mail_server(self.folder, faults=faults) as sink:
            relay = SmtpRelay(host="127.0.0.1", port=sink.sockets[0].getsockname()[1])
            known = load_templates(ROOT / "catalog" / "templates")
            channel = EmailChannel(known, EmailSettings(relay=relay, **settings), search=search)
            yield self.through(channel)
            await channel.close()

    def through(self, channel: Channel) -> Dependencies:
        return replace(self.deps, channels={"email": channel})

    async def settle(self, deps: Dependencies) -> None:
        person = (await self.rows("SELECT key FROM subjects WHERE kind = 'user'"))[0]["key"]
        async with asyncio.timeout(20):
            await settle(deps, person, enough=lambda due: due > datetime.now(UTC) + timedelta(seconds=30))

    async def ledger(self) -> list[Any]:
        """The messages of the journeys; then the digests."""
        return await self.rows("SELECT * FROM messages ORDER BY key LIKE 'digest/%', id")

    async def heard(self) -> list[tuple[str, str]]:
        """What runs were told, by journey."""
        found = await self.rows("SELECT o.name, r.journey FROM outbox o JOIN runs r ON r.id = o.target ORDER BY o.id")
        return sorted((each["journey"], each["name"]) for each in found if each["name"].startswith("tip."))

    async def rows(self, statement: str, **values: Any) -> list[Any]:
        async with self.deps.database.reading() as connection:
            return await fetch_all(connection, sql(statement), **values)


@pytest_asyncio.fixture
async def three(database_url: str, tmp_path: Path) -> AsyncIterator[Three]:
    database = Database(database_url, pool=2)
    found = Three(Dependencies(database, DefinitionRegistry(), load_policy(POLICY), {}), tmp_path / "mail")
    async with found.by() as deps:
        found.deps = deps
        await found.begin()
        yield found
    await database.close()


@pytest.mark.parametrize(
    ("domain", "patience", "said"), [("bounce", 24, "550"), ("busy", 0, "given up: 451")], ids=["refused", "given up"]
)
async def test_a_part_of_what_failed_has_failed_and_its_run_hears_it(three, domain, patience, said):
    await three.known(f"ada@{domain}.example")
    async with three.by(retry=Retry(within=timedelta(hours=patience))) as deps:
        await three.settle(deps)
    _, second, third, whole = await three.ledger()
    assert {each["status"] for each in (second, third, whole)} == {"failed"}
    assert {each["sent_at"] for each in (second, third)} == {None}
    assert second["detail"].startswith(said)
    assert await three.heard() == [("a", "tip.sent"), ("b", "tip.failed"), ("c", "tip.failed")]
    async with three.deps.database.reading() as connection:
        shown = await parts_of_message(connection, whole["key"])
    assert [each["status"] for each in shown] == ["failed", "failed"], "as /v1/messages/{id}/why shows it"


async def test_one_that_keeps_failing_is_tried_later_and_later_and_given_up(three):
    await three.known("ada@busy.example")
    async with three.by(retry=Retry(first=timedelta(milliseconds=20), within=timedelta(milliseconds=500))) as deps:
        await three.settle(deps)
    _, second, third, *wholes = await three.ledger()
    assert [each["attempts"] for each in wholes] == list(range(1, len(wholes) + 1))
    assert len({each["first_attempt_at"] for each in wholes}) == 1
    assert {second["status"], third["status"], wholes[-1]["status"]} == {"failed"}
    assert second["detail"].startswith("given up: 451")


async def test_what_failed_as_one_is_owed_again_part_by_part_when_somebody_asks(three):
    await three.known("ada@bounce.example")
    await three.settle(three.deps)
    await three.known("ada@example.com")
    whole = (await three.ledger())[-1]
    assert await resend_message(three.deps.database, whole["id"])
    assert [each["status"] for each in await three.ledger()] == ["sent", "deferred", "deferred", "failed"]
    await three.settle(three.deps)
    _, second, third, failed, again = sorted(await three.ledger(), key=lambda each: each["id"])
    assert [each["status"] for each in (second, third, failed, again)] == ["merged", "merged", "failed", "sent"]
    assert second["merged_into"] == again["key"]
    assert [each for each in await three.heard() if each[1] == "tip.sent"][1:] == [("b", "tip.sent"), ("c", "tip.sent")]


async def test_a_part_of_what_nobody_saw_end_is_unknown_until_somebody_sends_it_again(three):
    async with three.by(DROPS) as deps:
        await three.settle(deps)
    _, second, third, whole = await three.ledger()
    assert {each["status"] for each in (second, third, whole)} == {"unknown"}
    assert await three.heard() == [("a", "tip.sent")]
    assert await resend_message(three.deps.database, whole["id"])
    await three.settle(three.deps)
    _, second, third, whole = await three.ledger()
    assert [each["status"] for each in (second, third, whole)] == ["merged", "merged", "sent"]
    assert three.mails.message_ids()[whole["reference"]] == 2, "the same mail, which a mailbox can tell"
    assert await three.heard() == [("a", "tip.sent"), ("b", "tip.sent"), ("c", "tip.sent")]


async def test_a_digest_that_its_provider_does_not_have_is_decided_again_part_by_part(three):
    async with three.by(DROPS, search=lambda _: False) as deps:
        looking = asyncio.create_task(three.settle(deps))
        while (await three.ledger())[-1]["status"] != "sending":
            await asyncio.sleep(0.01)
        async with three.deps.database.transaction() as connection:
            await execute(connection, sql("UPDATE runs SET state = 'told' WHERE journey = 'b'"))
        async with asyncio.timeout(10):
            while (await three.ledger())[-1]["status"] != "failed":
                await asyncio.sleep(0.01)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    async with three.by(search=lambda _: True) as deps:
        await three.settle(deps)
    _, second, third, whole = await three.ledger()
    assert [each["status"] for each in (second, third, whole)] == ["withheld", "sent", "failed"]
    assert ("b", "tip.withheld") in await three.heard()


async def test_what_the_allow_list_forbids_as_one_it_forbids_each(three):
    await three.known("ada@elsewhere.example")
    listed = AllowListedChannel(three.deps.channels["email"], AllowList(["*@example.com"]))
    await three.settle(three.through(listed))
    _, second, third = await three.ledger()
    assert [each["status"] for each in (second, third)] == ["withheld", "withheld"]
    assert await three.heard() == [("a", "tip.sent"), ("b", "tip.withheld"), ("c", "tip.withheld")]
