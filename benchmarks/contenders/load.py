"""Load on a contender: prepare people, send signals, wait until settled."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Protocol

from temporalio.client import WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy

from benchmarks.contenders.handwritten import QUEUE, BareJourney, BarePerson
from benchmarks.stack.rig import Rig
from store.database import fetch_one, sql

SIGNALS = ("signed_up", "setup_completed", "activated")
PEOPLE_A_BATCH = 100

_number = itertools.count(1)

_SETTLED = sql(
    """
    SELECT NOT EXISTS (SELECT 1 FROM outbox WHERE delivered_at IS NULL)
       AND NOT EXISTS (SELECT 1 FROM messages WHERE status IN ('deferred', 'sending'))
       AND NOT EXISTS (SELECT 1 FROM runs WHERE status = 'open' AND journey = :journey) AS settled
    """
)


class Side(Protocol):
    """A contender, as a closed or open loop drives it."""

    name: str

    async def people(self, count: int) -> list[str]:
        """Create people, outside of the measured time."""
        ...

    async def signal(self, person: str, name: str) -> None:
        """Send a signal; returns once it is accepted durably."""
        ...

    async def settled(self) -> None:
        """Wait until every started journey has ended and nothing of it is left to do."""
        ...


class Ours:
    """Tenure through its API: HTTP, store, relay, workflow, gate, provider."""

    name = "ours"

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    async def people(self, count: int) -> list[str]:
        """Create people by identify calls with their mail addresses."""
        names = [f"p{next(_number)}" for _ in range(count)]
        for start in range(0, count, PEOPLE_A_BATCH):
            batch = [
                {
                    "type": "identify",
                    "userId": person,
                    "messageId": f"{person}-is",
                    "traits": {"email": address(person), "first_name": "Ada"},
                }
                for person in names[start : start + PEOPLE_A_BATCH]
            ]
            await self.rig.web.post("/v1/batch", {"batch": batch})
        return names

    async def signal(self, person: str, name: str) -> None:
        """One POST of a track call."""
        body = {"userId": person, "event": name, "messageId": f"{person}-{name}-{next(_number)}", "properties": {}}
        await self.rig.web.post("/v1/track", body)

    async def settled(self, journey: str = "three-mails") -> None:
        """Wait until outbox, ledger and runs have nothing left to do."""
        while True:
            async with self.rig.database.reading() as connection:
                row = await fetch_one(connection, _SETTLED, journey=journey)
            if row is not None and row["settled"]:
                return
            await asyncio.sleep(0.02)


class Bare:
    """Temporal without Tenure: the first signal starts the workflow."""

    name = "bare"

    def __init__(self, rig: Rig) -> None:
        self.client = rig.bare_client
        self.open: dict[str, WorkflowHandle[BareJourney, str]] = {}

    async def people(self, count: int) -> list[str]:
        """Names only: the workflow gets the address as its input."""
        return [f"p{next(_number)}" for _ in range(count)]

    async def signal(self, person: str, name: str) -> None:
        """Signal-with-start, or a signal."""
        if name == SIGNALS[0]:
            self.open[person] = await self.client.start_workflow(
                BareJourney.run,
                BarePerson(address(person), "Ada"),
                id=f"bare-{person}",
                task_queue=QUEUE,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                start_signal=f"on_{name}",
            )
        else:
            await self.open[person].signal(f"on_{name}")

    async def settled(self) -> None:
        """Wait for the last few workflows: earlier ones ended before them, and waiting for all would add load."""
        last = list(self.open.values())[-32:]
        await asyncio.gather(*(handle.result() for handle in last))
        self.open.clear()


def address(person: str) -> str:
    """Mail address of a person, by which the sink reports receipts."""
    return f"{person}@people.example"


def in_turn(people: Sequence[str]) -> asyncio.Queue[str]:
    """A queue of people, for the users of a closed loop to take one by one."""
    queue: asyncio.Queue[str] = asyncio.Queue()
    for person in people:
        queue.put_nowait(person)
    return queue
