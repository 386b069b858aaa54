"""The parts of a digest get its result, and their runs the outcome (C4)."""

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
DROPS_CONNECTION = MailFaults(close_after_accept_rate=1.0)
"""The relay accepts a mail and disconnects, so the result is unknown."""


@dataclass
class DigestScenario:
    """Ada and three journeys: the first message is sent at once, the others become a digest after the cooldown."""

    deps: Dependencies
    folder: Path
    events: int = 0

    async def identify(self, email: str) -> None:
        self.events += 1
        call = InboundEvent("identify", f"i{self.events}", "identify", user_id="ada", traits={"email": email})
        await ingest.accept(self.deps.database, self.deps.catalogue, [call], source="test")

    async def begin(self) -> None:
        """Open the three runs: one message is sent, two are deferred."""
        await self.identify("ada@example.com")
        for name in ("a", "b", "c"):
            await publish(self.deps.database, JOURNEY.format(name=name))
        entered = InboundEvent("track", "e", "signed_up", user_id="ada")
        await ingest.accept(self.deps.database, self.deps.catalogue, [entered], source="test")
        first = await first_steps(self.deps.database, self.deps.catalogue, "signed_up")
        for _, step in sorted(first.items()):
            await steps.apply_step(self.deps, wire.StepInput(**step))
        assert [message["status"] for message in await self.ledger()] == ["sent", "deferred", "deferred"]

    @property
    def mails(self) -> Maildir:
        return Maildir(self.folder)

    @contextlib.asynccontextmanager
    async def with_relay(
        self, faults: MailFaults = MailFaults(), search: Any = None, **settings: Any
    ) -> AsyncIterator[Dependencies]:
        """The dependencies with a relay that has these faults, a search and e-mail settings."""
        async with await mail_server(self.folder, faults=faults) as sink:
            relay = SmtpRelay(host="127.0.0.1", port=sink.sockets[0].getsockname()[1])
            known = load_templates(ROOT / "catalog" / "templates")
            channel = EmailChannel(known, EmailSettings(relay=relay, **settings), search=search)
            yield self.with_channel(channel)
            await channel.close()

    def with_channel(self, channel: Channel) -> Dependencies:
        return replace(self.deps, channels={"email": channel})

    async def settle(self, deps: Dependencies) -> None:
        person = (await self.rows("SELECT key FROM subjects WHERE kind = 'user'"))[0]["key"]
        async with asyncio.timeout(20):
            await settle(deps, person, enough=lambda due: due > datetime.now(UTC) + timedelta(seconds=30))

    async def ledger(self) -> list[Any]:
        """The messages of the journeys, then the digests."""
        return await self.rows("SELECT * FROM messages ORDER BY key LIKE 'digest/%', id")

    async def outcomes(self) -> list[tuple[str, str]]:
        """The outcomes of messages in the outbox, with their journeys."""
        rows = await self.rows("SELECT o.name, r.journey FROM outbox o JOIN runs r ON r.id = o.target ORDER BY o.id")
        return sorted((row["journey"], row["name"]) for row in rows if row["name"].startswith("tip."))

    async def rows(self, statement: str, **values: Any) -> list[Any]:
        async with self.deps.database.reading() as connection:
            return await fetch_all(connection, sql(statement), **values)


@pytest_asyncio.fixture
async def scenario(database_url: str, tmp_path: Path) -> AsyncIterator[DigestScenario]:
    database = Database(database_url, pool=2)
    digest_scenario = DigestScenario(
        Dependencies(database, DefinitionRegistry(), load_policy(POLICY), {}), tmp_path / "mail"
    )
    async with digest_scenario.with_relay() as deps:
        digest_scenario.deps = deps
        await digest_scenario.begin()
        yield digest_scenario
    await database.close()


@pytest.mark.parametrize(
    ("domain", "hours", "detail"), [("bounce", 24, "550"), ("busy", 0, "given up: 451")], ids=["refused", "given up"]
)
async def test_the_parts_of_a_failed_digest_fail_and_their_runs_get_the_outcome(scenario, domain, hours, detail):
    await scenario.identify(f"ada@{domain}.example")
    async with scenario.with_relay(retry=Retry(within=timedelta(hours=hours))) as deps:
        await scenario.settle(deps)
    _, second, third, whole = await scenario.ledger()
    assert {message["status"] for message in (second, third, whole)} == {"failed"}
    assert {message["sent_at"] for message in (second, third)} == {None}
    assert second["detail"].startswith(detail)
    assert await scenario.outcomes() == [("a", "tip.sent"), ("b", "tip.failed"), ("c", "tip.failed")]
    async with scenario.deps.database.reading() as connection:
        shown = await parts_of_message(connection, whole["key"])
    assert [part["status"] for part in shown] == ["failed", "failed"], "as /v1/messages/{id}/why shows it"


async def test_a_digest_that_keeps_failing_is_retried_and_then_given_up(scenario):
    await scenario.identify("ada@busy.example")
    async with scenario.with_relay(
        retry=Retry(first=timedelta(milliseconds=20), within=timedelta(milliseconds=500))
    ) as deps:
        await scenario.settle(deps)
    _, second, third, *wholes = await scenario.ledger()
    assert [digest["attempts"] for digest in wholes] == list(range(1, len(wholes) + 1))
    assert len({digest["first_attempt_at"] for digest in wholes}) == 1
    assert {second["status"], third["status"], wholes[-1]["status"]} == {"failed"}
    assert second["detail"].startswith("given up: 451")


async def test_resending_a_failed_digest_makes_its_parts_due_again(scenario):
    await scenario.identify("ada@bounce.example")
    await scenario.settle(scenario.deps)
    await scenario.identify("ada@example.com")
    whole = (await scenario.ledger())[-1]
    assert await resend_message(scenario.deps.database, whole["id"])
    assert [message["status"] for message in await scenario.ledger()] == ["sent", "deferred", "deferred", "failed"]
    await scenario.settle(scenario.deps)
    _, second, third, failed, again = sorted(await scenario.ledger(), key=lambda message: message["id"])
    assert [message["status"] for message in (second, third, failed, again)] == ["merged", "merged", "failed", "sent"]
    assert second["merged_into"] == again["key"]
    assert [outcome for outcome in await scenario.outcomes() if outcome[1] == "tip.sent"][1:] == [
        ("b", "tip.sent"),
        ("c", "tip.sent"),
    ]


async def test_the_parts_of_an_unknown_digest_are_unknown_until_it_is_resent(scenario):
    async with scenario.with_relay(DROPS_CONNECTION) as deps:
        await scenario.settle(deps)
    _, second, third, whole = await scenario.ledger()
    assert {message["status"] for message in (second, third, whole)} == {"unknown"}
    assert await scenario.outcomes() == [("a", "tip.sent")]
    assert await resend_message(scenario.deps.database, whole["id"])
    await scenario.settle(scenario.deps)
    _, second, third, whole = await scenario.ledger()
    assert [message["status"] for message in (second, third, whole)] == ["merged", "merged", "sent"]
    assert scenario.mails.message_ids()[whole["reference"]] == 2, "the same mail, which a mailbox recognises"
    assert await scenario.outcomes() == [("a", "tip.sent"), ("b", "tip.sent"), ("c", "tip.sent")]


async def test_the_parts_of_a_digest_that_its_provider_does_not_have_are_decided_again(scenario):
    async with scenario.with_relay(DROPS_CONNECTION, search=lambda _: False) as deps:
        settling = asyncio.create_task(scenario.settle(deps))
        while (await scenario.ledger())[-1]["status"] != "sending":
            await asyncio.sleep(0.01)
        async with scenario.deps.database.transaction() as connection:
            await execute(connection, sql("UPDATE runs SET state = 'told' WHERE journey = 'b'"))
        async with asyncio.timeout(10):
            while (await scenario.ledger())[-1]["status"] != "failed":
                await asyncio.sleep(0.01)
        settling.cancel()
        await asyncio.gather(settling, return_exceptions=True)
    async with scenario.with_relay(search=lambda _: True) as deps:
        await scenario.settle(deps)
    _, second, third, whole = await scenario.ledger()
    assert [message["status"] for message in (second, third, whole)] == ["withheld", "sent", "failed"]
    assert ("b", "tip.withheld") in await scenario.outcomes()


async def test_the_allow_list_withholds_every_part_of_a_digest(scenario):
    await scenario.identify("ada@elsewhere.example")
    listed = AllowListedChannel(scenario.deps.channels["email"], AllowList(["*@example.com"]))
    await scenario.settle(scenario.with_channel(listed))
    _, second, third = await scenario.ledger()
    assert [message["status"] for message in (second, third)] == ["withheld", "withheld"]
    assert await scenario.outcomes() == [("a", "tip.sent"), ("b", "tip.withheld"), ("c", "tip.withheld")]
