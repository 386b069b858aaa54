"""Outages: one part of a stack is killed, or stopped with SIGSTOP, for seconds.

Events go on during the outage. It is measured how long after its end all of them are sent, and what was lost or doubled.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal

import asyncpg
import psutil

from store.database import Database, fetch_one, sql
from tests.storm.clients import Senders
from tests.storm.plan import Storm
from tests.storm.verdict import read_sink, total_queue
from worker.stack.supervisor import Stack

LEAD_SECONDS: Final = 3.0
"""Events are sent for this long before the outage, so that it meets work in progress."""
SENDING_SHARE: Final = 0.8
"""Part of the outage in which events are sent, so that what is measured after it is what it held up."""
MOST_SECONDS: Final = 90.0
"""A measurement gives up after this."""
_SLOWEST: Final = sql(
    """
    SELECT max(m.sent_at - e.at) AS took FROM messages m JOIN events e ON e.message_id = m.data->>'token'
    WHERE starts_with(e.message_id, :prefix)
    """
)
_LEFT: Final = sql(
    """
    SELECT (SELECT count(*) FROM outbox WHERE delivered_at IS NULL) AS waiting,
           CAST(:events AS int) - (SELECT count(*) FROM messages WHERE starts_with(data->>'token', :prefix)) AS undecided,
           CAST(:events AS int) - (SELECT count(*) FROM messages
                                   WHERE starts_with(data->>'token', :prefix) AND status = 'sent') AS unsent
    """
)


@dataclass(frozen=True, slots=True)
class Outage:
    """A fault of one part of the stack. It ends when a stopped part continues, or a killed one is up again."""

    how: Literal["killed", "stopped"]
    part: Literal["api", "worker", "worker-b", "temporal", "postgres"]
    seconds: float

    @property
    def name(self) -> str:
        return f"{self.part}-{self.how}"


@dataclass(frozen=True, slots=True)
class OutageReport:
    """Results of an outage. `out_after`: seconds from its end until a count was zero for good.

    `slowest`: the most seconds from an event to its mail.
    """

    outage: str
    seconds: float
    events: int
    unsent_at_its_end: int
    out_after: Mapping[str, float]
    slowest: float
    lost: int
    duplicated: int
    unexpected: int

    def line(self) -> str:
        return json.dumps({"outage": asdict(self)})


async def measure_outage(stack: Stack, database: Database, maildir: Path, outage: Outage, storm: Storm) -> OutageReport:
    """Send the storm's events during an outage, wait until all are sent, and count. Raises TimeoutError if some are not."""
    storm = replace(storm, seconds=LEAD_SECONDS + outage.seconds * SENDING_SHARE)
    senders = Senders(storm, stack.endpoints.api_url, prefix=f"{outage.name}-{outage.seconds:.0f}-")
    await senders.enter()
    pinging = asyncio.create_task(senders.ping_on_time())
    await asyncio.sleep(LEAD_SECONDS)
    await inject(stack, outage)
    ended = time.monotonic()
    unsent, out_after = await _drained(database, senders, ended)
    await pinging
    tokens = read_sink(maildir).tokens
    sink = Counter({token: count for token, count in tokens.items() if token.startswith(senders.prefix)})
    queue = total_queue(senders.sent.attempted, senders.sent.acknowledged, sink)
    return OutageReport(
        outage=outage.name,
        seconds=outage.seconds,
        events=storm.events,
        unsent_at_its_end=unsent,
        out_after=out_after,
        slowest=await _slowest(database, senders),
        lost=queue.lost.total(),
        duplicated=queue.duplicated.total(),
        unexpected=queue.unexpected.total(),
    )


async def inject(stack: Stack, outage: Outage) -> None:
    """Inject the fault and wait for its end."""
    if outage.how == "killed":
        await stack.kill(outage.part, down_for=outage.seconds)
        await stack.wait_ready(outage.part)
        return
    async with stopped(stack.pid(outage.part) or 0):
        await asyncio.sleep(outage.seconds)


@asynccontextmanager
async def stopped(pid: int) -> AsyncIterator[None]:
    """Stop a process and its descendants with SIGSTOP while the body runs. PostgreSQL's sessions are descendants."""
    process = psutil.Process(pid)
    process.suspend()
    family = [process, *process.children(recursive=True)]
    try:
        for member in family:
            _signal(member, "suspend")
        yield
    finally:
        for member in reversed(family):
            _signal(member, "resume")


def _signal(process: psutil.Process, action: Literal["suspend", "resume"]) -> None:
    with suppress(psutil.NoSuchProcess):  # it has ended, or was killed meanwhile
        getattr(process, action)()


async def _drained(database: Database, senders: Senders, ended: float) -> tuple[int, dict[str, float]]:
    """How many events were unsent at first, and for each count the seconds since `ended` until it was zero."""
    first, reached = -1, dict[str, float]()
    while True:
        left = await _left(database, senders)
        first = left["unsent"] if first < 0 else first
        seconds = round(time.monotonic() - ended, 1)
        reached = {name: reached.get(name, seconds) for name, count in left.items() if count == 0}
        if len(reached) == len(left):
            return first, reached
        if seconds > MOST_SECONDS:
            raise TimeoutError(f"not everything is sent: {left}")
        await asyncio.sleep(0.2)


async def _slowest(database: Database, senders: Senders) -> float:
    async with database.reading() as connection:
        row = await fetch_one(connection, _SLOWEST, prefix=senders.prefix)
    assert row is not None
    took: timedelta = row["took"]
    return round(took.total_seconds(), 1)


async def _left(database: Database, senders: Senders) -> dict[str, Any]:
    while True:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # this connection was open before a kill
            async with database.reading() as connection:
                left = await fetch_one(connection, _LEFT, events=senders.storm.events, prefix=senders.prefix)
            assert left is not None
            return dict(left)
