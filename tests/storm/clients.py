"""Clients like Segment's libraries: they repeat a batch with the same ids until it is accepted, or give up."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.storm.plan import ENTERED, PINGED, Storm
from worker.settings import DEV_WRITE_KEY

CLIENTS = 8
LARGEST_BATCH = 4
GIVE_UP_RATE = 0.03
"""The share of batches that a client does not repeat after a lost answer: they may or may not be accepted."""
TIMEOUT = httpx.Timeout(5.0)


@dataclass(slots=True)
class Sent:
    """Counts by token: sent at least once, and answered with 200."""

    attempted: Counter[str] = field(default_factory=Counter)
    acknowledged: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    retries: int = 0


class Senders:
    """All clients of one storm. The names of its people begin with `prefix`."""

    def __init__(self, storm: Storm, api_url: str, *, prefix: str = "") -> None:
        self.storm, self.url, self.prefix = storm, f"{api_url}/v1/batch", prefix
        self.rng = random.Random(storm.seed)
        self.sent = Sent()
        self.users = [f"{prefix}u{number}" for number in range(storm.users)]

    async def enter(self) -> None:
        """Identify every person and let them enter the journey."""
        async with self.client() as client:
            for start in range(0, len(self.users), 25):
                calls = [call for user in self.users[start : start + 25] for call in entry(user)]
                await self.send_until_accepted(client, calls)

    async def ping(self) -> None:
        """Send all pings, spread over the storm's duration: a few clients, each with one batch at a time."""
        queue = list(self._batches())
        pause = self.storm.seconds * CLIENTS / len(queue)
        await asyncio.gather(*(self._run_client(queue[at::CLIENTS], pause) for at in range(CLIENTS)))

    async def ping_on_time(self) -> None:
        """Send all pings, evenly over the storm's duration: a batch that is refused or hangs delays no other."""
        queue = list(self._batches())
        pause = self.storm.seconds / len(queue)
        async with self.client() as client:
            await asyncio.gather(*(self._send_at(client, batch, at * pause) for at, batch in enumerate(queue)))

    async def _send_at(self, client: httpx.AsyncClient, batch: list[dict[str, Any]], seconds: float) -> None:
        tokens = [call["properties"]["token"] for call in batch]
        await asyncio.sleep(seconds)
        self.sent.attempted.update(tokens)
        await self.send_until_accepted(client, batch)
        self.sent.acknowledged.update(tokens)

    def _batches(self) -> Iterator[list[dict[str, Any]]]:
        pings = [(user, number) for number in range(-(-self.storm.events // len(self.users))) for user in self.users]
        pings = pings[: self.storm.events]
        self.rng.shuffle(pings)
        at = 0
        while at < len(pings):
            size = self.rng.randint(1, LARGEST_BATCH)
            yield [ping(user, f"{user}-{number}") for user, number in pings[at : at + size]]
            at += size

    async def _run_client(self, batches: list[list[dict[str, Any]]], pause: float) -> None:
        rng = random.Random(self.rng.random())
        async with self.client() as client:
            for batch in batches:
                tokens = [call["properties"]["token"] for call in batch]
                self.sent.attempted.update(tokens)
                if await self.send_until_accepted(client, batch, keep_trying=rng.random() >= GIVE_UP_RATE):
                    self.sent.acknowledged.update(tokens)
                await asyncio.sleep(pause * rng.uniform(0.5, 1.5))

    async def send_until_accepted(
        self, client: httpx.AsyncClient, calls: list[dict[str, Any]], *, keep_trying: bool = True
    ) -> bool:
        """Send a batch until it is accepted. Returns False if the answer is lost and `keep_trying` is false."""
        while True:
            self.sent.requests += 1
            try:
                answer = await client.post(self.url, json={"batch": calls})
                if answer.status_code == httpx.codes.OK:
                    return True
                assert answer.status_code >= 429, f"the API refused a good batch: {answer.status_code} {answer.text}"
            except httpx.HTTPError:
                if not keep_trying:
                    return False
            self.sent.retries += 1
            await asyncio.sleep(0.25)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(auth=(DEV_WRITE_KEY, ""), timeout=TIMEOUT, trust_env=False)


def entry(user: str) -> list[dict[str, Any]]:
    """The calls that identify a person and let them enter."""
    traits = {"email": f"{user}@people.example"}
    return [
        {"type": "identify", "userId": user, "messageId": f"{user}-identify", "traits": traits},
        {"type": "track", "userId": user, "messageId": f"{user}-enter", "event": ENTERED, "properties": {}},
    ]


def ping(user: str, token: str) -> dict[str, Any]:
    """A call whose token appears in its mail."""
    return {
        "type": "track",
        "userId": user,
        "messageId": token,
        "event": PINGED,
        "properties": {"token": token},
    }
