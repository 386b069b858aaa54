"""Loop that pushes the feed, with its metrics."""

from __future__ import annotations

import asyncio
from functools import partial

from prometheus_client import Counter, Gauge

from activities.exports.feed_push import FeedPush
from store.database import Database
from store.exports import feed_push
from worker.loops.loop import run_periodically

PAUSE_SECONDS = 1.0
"""Pause when there was nothing to push."""

LAG = Gauge("tenure_feed_lag_seconds", "Age of the oldest feed line that has not been pushed")
POSITION = Gauge("tenure_feed_position", "Position of the last line that the receiver accepted")
TRIES = Gauge("tenure_feed_tries", "Failed attempts at the current batch")
PUSHED = Counter("tenure_feed_batches_total", "Batches that the receiver accepted")


class FeedLoop:
    """Pushes batches until stopped; ends at once where no receiver is configured."""

    def __init__(self, database: Database, push: FeedPush | None) -> None:
        self._database, self._push = database, push

    async def run(self, stop: asyncio.Event, pause: float = PAUSE_SECONDS) -> None:
        """Push until `stop` is set. Raises nothing; an outage of the database is waited for."""
        if self._push is not None:
            await run_periodically("feed", partial(self._poll, self._push), stop, pause)
            await self._push.close()

    async def _poll(self, push: FeedPush) -> bool:
        accepted = await push.round()
        if accepted:
            PUSHED.inc()
        await self._measure()
        return accepted

    async def _measure(self) -> None:
        async with self._database.reading() as connection:
            state, lag = await feed_push.read_position(connection), await feed_push.push_lag(connection)
        LAG.set(lag.seconds)
        POSITION.set(state.position)
        TRIES.set(state.attempts)
