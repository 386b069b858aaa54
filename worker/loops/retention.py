"""Loops of retention: one for each kind of rows that has a period.

Any number of processes may run them; a slice is one transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from prometheus_client import Counter

from store.database import Connection, Database
from store.events.tickets import prune_tickets
from store.outbox.pruning import prune_delivered
from store.process_clock import current_instant
from store.retention.events import prune_events
from store.retention.feed import prune_feed
from store.retention.periods import RetentionPeriods, Slice
from store.retention.rows import prune_clicks, prune_dead_letters, prune_message_ids, prune_quarantine
from store.retention.visitors import prune_visitors
from worker.loops.loop import run_periodically

POLL_SECONDS: Final = 60.0
ROUND_SECONDS: Final = 6 * 3600.0
"""Between two rounds through all people in search of visitors of whom nothing is left."""
DELETED = Counter("tenure_retention_deleted_total", "Rows that retention has deleted", ["kind"])
PruneSlice = Callable[[Connection, datetime], Awaitable[Slice]]


class Retention:
    """Deletes rows whose period is over. With `pushes_feed` lines of the feed stay until its receiver has them."""

    def __init__(self, database: Database, periods: RetentionPeriods, *, pushes_feed: bool = False) -> None:
        self._database = database
        given: Mapping[str, tuple[timedelta | None, PruneSlice]] = {
            "events": (periods.events, prune_events),
            "feed": (periods.feed, partial(prune_feed, pushed=pushes_feed)),
            "visitors": (periods.visitors, prune_visitors),
            "quarantine": (periods.quarantine, prune_quarantine),
            "dead_letters": (periods.dead_letters, prune_dead_letters),
            "outbox": (periods.outbox, prune_delivered),
            "clicks": (periods.clicks, prune_clicks),
            "message_ids": (periods.message_ids, prune_message_ids),
            "tickets": (periods.tickets, prune_tickets),
        }
        self.kinds = {kind: (period, prune) for kind, (period, prune) in given.items() if period is not None}

    async def run(self, stop: asyncio.Event, every: float = POLL_SECONDS) -> None:
        """Delete slice after slice of each kind while there are more, then look again after a while, until `stop` is set."""
        loops = (
            run_periodically(
                f"retention of {kind}",
                partial(self.delete_slice, kind),
                stop,
                ROUND_SECONDS if kind == "visitors" else every,
            )
            for kind in self.kinds
        )
        await asyncio.gather(*loops)

    async def delete_slice(self, kind: str, now: datetime | None = None) -> bool:
        """Delete one slice of a kind, as of `now`; whether there may be more. Raises the database's errors."""
        period, prune = self.kinds[kind]
        async with self._database.transaction() as connection:
            deleted, more = await prune(connection, (now or current_instant()) - period)
        if deleted:
            DELETED.labels(kind).inc(deleted)
        return more
