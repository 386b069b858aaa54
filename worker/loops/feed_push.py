"""Loop that pushes the feed to its receiver, with metrics of lag, position and failed attempts."""

from __future__ import annotations

import asyncio
from functools import partial

from prometheus_client import Counter, Gauge

from activities.exports.feed_push import FeedPush
from store.database import Database
from store.exports import feed_push
from worker.loops.loop import run_periodically

PAUSE_SECONDS = 1.0
"""Between two looks when there was nothing to push."""

LAG = Gauge("tenure_feed_lag_seconds", "Age of the oldest line of the feed that has not been pushed")
POSITION = Gauge("tenure_feed_position", "The last line that the receiver has")
TRIES = Gauge("tenure_feed_tries", "Failed tries of the batch in hand")
PUSHED = Counter("tenure_feed_batches_total", "Batches that the receiver took")


class FeedLoop:
    """Rounds until told to stop; with no receiver it has nothing to do and ends at once."""

    def __init__(self, database: Database, push: FeedPush | None) -> None:
        self._database, self._push = database, push

    async def run(self, stop: asyncio.Event, pause: float = PAUSE_SECONDS) -> None:
        """Raises nothing: an outage of the database is waited for."""
        if self._push is not None:
            await run_periodically("feed", partial(self._look, self._push), stop, pause)
            await self._push.close()

    async def _look(self, push: FeedPush) -> bool:
        arrived = await push.round()
        if arrived:
            PUSHED.inc()
        await self._measure()
        return arrived

    async def _measure(self) -> None:
        async with self._database.reading() as connection:
            at, lag = await feed_push.read_position(connection), await feed_push.push_lag(connection)
        LAG.set(lag.seconds)
        POSITION.set(at.position)
        TRIES.set(at.attempts)
