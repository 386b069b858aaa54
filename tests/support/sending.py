"""People, a message to each, and its channel: PostgreSQL and the local provider, without Temporal."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from activities.channels.http.channel import Reach
from activities.channels.twilio import TwilioChannel, TwilioSettings
from activities.dependencies import Dependencies
from activities.outgoing.client import HttpClient
from activities.ports import Channel
from activities.steps import apply as steps
from journeys.events.inbound import InboundEvent
from journeys.gate.policy import load_policy
from journeys.protocol import wire
from store.database import Database, execute, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.events import ingest
from tests.support.provider import PHONE, templates
from tests.support.steps import first_steps, publish, settle
from worker.stack.providers.environment import KEY
from worker.stack.providers.serving import LocalProvider, local_provider

JOURNEY = """
journey: urgent
entry: {on: signed_up, again: never}
priority: transactional
start: here
states:
  here: {do: [{send: export/ready, name: it, via: [VIA], data: DATA}], on: {left: done}}
  done: {final: done}
"""
_LONG_AGO = sql(
    "UPDATE messages SET lease_until = clock_timestamp(), first_attempt_at = clock_timestamp() - CAST(:ago AS interval)"
)


@dataclass
class Sending:
    """Some people and a message to each; the channel is given with each call."""

    database: Database
    folder: Path
    local: LocalProvider
    http_client: HttpClient

    def sms(self, base: str = "") -> TwilioChannel:
        settings = TwilioSettings("AC1", KEY, "+15005550006", base or f"{self.local.url}/twilio")
        return TwilioChannel(templates(self.folder), self.http_client, Reach(near=True), settings)

    async def first_attempts(self, channel: Channel, people: int = 1, data: str = "{}", **traits: Any) -> list[Any]:
        """Request a message with this data for each person and make its first attempt; the ledger."""
        deps = self.dependencies(channel)
        await publish(self.database, JOURNEY.replace("VIA", channel.name).replace("DATA", data))
        for number in range(people):
            profile = {"first_name": "Ada", "phone": f"{PHONE[:-1]}{number}", **traits}
            events = [
                InboundEvent("identify", f"i{number}", "identify", user_id=f"u{number}", traits=profile),
                InboundEvent("track", f"e{number}", "signed_up", user_id=f"u{number}"),
            ]
            await ingest.accept(self.database, deps.catalogue, events, source="test")
        for _, step in sorted((await first_steps(self.database, deps.catalogue, "signed_up")).items()):
            await steps.apply_step(deps, wire.StepInput(**step))
        return await self.ledger()

    async def settle_all(self, channel: Channel) -> list[Any]:
        """Run the outreach of everybody until nothing is due; the ledger."""
        people = {message["recipient"] for message in await self.ledger()}
        async with asyncio.timeout(20):
            await asyncio.gather(*(settle(self.dependencies(channel), person) for person in people))
        return await self.ledger()

    async def next_attempt(self, channel: Channel) -> Any:
        """Run the outreach until the only message has another due date; the message."""
        (before,) = await self.ledger()
        async with asyncio.timeout(20):
            await settle(self.dependencies(channel), before["recipient"], enough=lambda due: due != before["due_at"])
        return (await self.ledger())[0]

    def dependencies(self, channel: Channel) -> Dependencies:
        policy = load_policy({"consent": [{"default": "granted"}]})
        return Dependencies(self.database, DefinitionRegistry(), policy, {channel.name: channel})

    async def ledger(self) -> list[Any]:
        async with self.database.reading() as connection:
            return await fetch_all(connection, sql("SELECT * FROM messages ORDER BY id"))


@asynccontextmanager
async def sending_at(database_url: str, folder: Path) -> AsyncIterator[Sending]:
    """A `Sending` without people, with a local provider."""
    database = Database(database_url, pool=2)
    async with local_provider() as local:
        http_client = HttpClient(frozenset({local.origin, f"127.0.0.1:{closed_port()}"}))
        yield Sending(database, folder, local, http_client)
        await http_client.close()
    await database.close()


@cache
def closed_port() -> int:
    """A port without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


async def settled_after(sending: Sending, channel: Channel, ago: timedelta) -> Any:
    """Move the first attempt `ago` into the past, end its lease and settle once; the message."""
    async with sending.database.transaction() as connection:
        await execute(connection, _LONG_AGO, ago=ago)
    (row,) = await sending.ledger()
    await settle(sending.dependencies(channel), row["recipient"], enough=lambda _: True)
    return (await sending.ledger())[0]
