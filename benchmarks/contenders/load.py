"""Load on either contender: prepare people, send signals, wait until settled."""

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
    """What a closed or open loop drives."""

    name: str

    async def people(self, count: int) -> list[str]:
        """New people, known beforehand where that is needed; outside of what is timed."""
        ...

    async def signal(self, person: str, name: str) -> None:
        """Returns when the signal is accepted for good."""
        ...

    async def settled(self) -> None:
        """Until every journey that was started has ended and nothing of it is left to do."""
        ...


class Ours:
    """Through the front door: HTTP, store, relay, workflow, gate, provider."""

    name = "ours"

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    async def people(self, count: int) -> list[str]:
        """Their e-mail addresses are traits that were told before."""
        made = [f"p{next(_number)}" for _ in range(count)]
        for start in range(0, count, PEOPLE_A_BATCH):
            batch = [
                {
                    "type": "identify",
                    "userId": person,
                    "messageId": f"{person}-is",
                    "traits": {"email": address(person), "first_name": "Ada"},
                }
                for person in made[start : start + PEOPLE_A_BATCH]
            ]
            await self.rig.web.post("/v1/batch", {"batch": batch})
        return made

    async def signal(self, person: str, name: str) -> None:
        """One POST."""
        body = {"userId": person, "event": name, "messageId": f"{person}-{name}-{next(_number)}", "properties": {}}
        await self.rig.web.post("/v1/track", body)

    async def settled(self, journey: str = "three-mails") -> None:
        """Outbox, ledger and runs, in the store."""
        while True:
            async with self.rig.database.reading() as connection:
                found = await fetch_one(connection, _SETTLED, journey=journey)
            if found is not None and found["settled"]:
                return
            await asyncio.sleep(0.02)


class Bare:
    """Straight to Temporal: the first signal starts the workflow."""

    name = "bare"

    def __init__(self, rig: Rig) -> None:
        self.client = rig.bare_client
        self.open: dict[str, WorkflowHandle[BareJourney, str]] = {}

    async def people(self, count: int) -> list[str]:
        """Nobody has to know them beforehand: the caller knows their address."""
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
        """The last few: whoever came before has ended before, and asking for all would be load of its own."""
        last = list(self.open.values())[-32:]
        await asyncio.gather(*(handle.result() for handle in last))
        self.open.clear()


def address(person: str) -> str:
    """Where a person's mail goes; the sink tells of it under this name."""
    return f"{person}@people.example"


def in_turn(people: Sequence[str]) -> asyncio.Queue[str]:
    """People for the users of a closed loop to take, one after the other."""
    queue: asyncio.Queue[str] = asyncio.Queue()
    for person in people:
        queue.put_nowait(person)
    return queue
