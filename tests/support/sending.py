"""People, a message to each, and the channel it goes by: real Postgres and the local provider, without Temporal."""

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
    """Some people, a message to each, and the channel that it goes by."""

    database: Database
    folder: Path
    local: LocalProvider
    way: HttpClient

    def sms(self, base: str = "") -> TwilioChannel:
        settings = TwilioSettings("AC1", KEY, "+15005550006", base or f"{self.local.url}/twilio")
        return TwilioChannel(templates(self.folder), self.way, Reach(near=True), settings)

    async def go(self, channel: Channel, people: int = 1, data: str = "{}", **traits: Any) -> list[Any]:
        """Let each be sent once, with this data; the ledger."""
        deps = self.deps(channel)
        await publish(self.database, JOURNEY.replace("VIA", channel.name).replace("DATA", data))
        for number in range(people):
            known = {"first_name": "Ada", "phone": f"{PHONE[:-1]}{number}", **traits}
            calls = [
                InboundEvent("identify", f"i{number}", "identify", user_id=f"u{number}", traits=known),
                InboundEvent("track", f"e{number}", "signed_up", user_id=f"u{number}"),
            ]
            await ingest.accept(self.database, deps.catalogue, calls, source="test")
        for _, step in sorted((await first_steps(self.database, deps.catalogue, "signed_up")).items()):
            await steps.apply_step(deps, wire.StepInput(**step))
        return await self.ledger()

    async def later(self, channel: Channel) -> list[Any]:
        """Let everybody's outreach go on until nothing is owed."""
        people = {each["recipient"] for each in await self.ledger()}
        async with asyncio.timeout(20):
            await asyncio.gather(*(settle(self.deps(channel), person) for person in people))
        return await self.ledger()

    async def look(self, channel: Channel) -> Any:
        """One message, after its next attempt."""
        (before,) = await self.ledger()
        async with asyncio.timeout(20):
            await settle(self.deps(channel), before["recipient"], enough=lambda due: due != before["due_at"])
        return (await self.ledger())[0]

    def deps(self, channel: Channel) -> Dependencies:
        policy = load_policy({"consent": [{"default": "granted"}]})
        return Dependencies(self.database, DefinitionRegistry(), policy, {channel.name: channel})

    async def ledger(self) -> list[Any]:
        async with self.database.reading() as connection:
            return await fetch_all(connection, sql("SELECT * FROM messages ORDER BY id"))


@asynccontextmanager
async def sending_at(database_url: str, folder: Path) -> AsyncIterator[Sending]:
    """Nobody yet, with a provider that answers."""
    database = Database(database_url, pool=2)
    async with local_provider() as local:
        way = HttpClient(frozenset({local.origin, f"127.0.0.1:{nobody()}"}))
        yield Sending(database, folder, local, way)
        await way.close()
    await database.close()


@cache
def nobody() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


async def asked_after(sending: Sending, channel: Channel, ago: timedelta) -> Any:
    """The message, if its first attempt was so long ago, after one more look."""
    async with sending.database.transaction() as connection:
        await execute(connection, _LONG_AGO, ago=ago)
    (row,) = await sending.ledger()
    await settle(sending.deps(channel), row["recipient"], enough=lambda _: True)
    return (await sending.ledger())[0]
