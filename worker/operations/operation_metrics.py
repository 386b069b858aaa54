"""Loop that publishes counts of open runs and waiting messages as metrics.

Every worker publishes those of the whole database: take the maximum over workers, not the sum.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from prometheus_client import Gauge

from store.database import Database
from store.operations.counts import OperationCounts, count_operations
from worker.loops.loop import run_periodically, sleep_or_stop

SECONDS: Final = 60.0
SHARE: Final = 20
"""The loop rests at least this many times as long as it has counted, however large the tables are."""
RUNS = Gauge("tenure_runs_open", "Open runs by journey and state, of the whole database", ["journey", "state"])
MESSAGES = Gauge(
    "tenure_messages",
    "Messages that wait or have failed by status, counted up to 10,001, of the whole database",
    ["status"],
)
DUE = Gauge("tenure_message_due_oldest_seconds", "Age of the oldest message that is due and is not decided yet")
STATUSES: Final = ("deferred", "sending", "unknown", "failed")


async def publish_counts(database: Database, stop: asyncio.Event, every: float = SECONDS) -> None:
    """Count until `stop` is set."""
    took = 0.0

    async def poll() -> bool:
        nonlocal took
        began = time.monotonic()
        async with database.reading() as connection:
            publish(await count_operations(connection))
        took = time.monotonic() - began
        return False

    async def rest(stop: asyncio.Event, seconds: float) -> None:
        await sleep_or_stop(stop, max(seconds, SHARE * took))

    await run_periodically("operation metrics", poll, stop, every, rest)


def publish(counts: OperationCounts) -> None:
    """Replace the gauges: a journey without open runs any more has no series."""
    RUNS.clear()
    for row in counts.runs:
        RUNS.labels(row["journey"], row["state"]).set(row["runs"])
    for status in STATUSES:
        MESSAGES.labels(status).set(counts.messages.get(status, 0))
    DUE.set(counts.due_seconds)
