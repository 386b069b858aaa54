"""Loop that deletes rows of the outbox that were delivered long ago.

Any number of processes may run it; a slice is one transaction.
"""

from __future__ import annotations

import asyncio
from typing import Final

from store.database import Database
from store.outbox.pruning import SLICE, prune_delivered
from worker.loops.loop import run_periodically

POLL_SECONDS: Final = 60.0


async def prune_outbox(database: Database, stop: asyncio.Event, every: float = POLL_SECONDS) -> None:
    """Delete slice after slice while there is a full one, then look again after a while, until `stop` is set."""

    async def poll() -> bool:
        async with database.transaction() as connection:
            return await prune_delivered(connection) == SLICE

    await run_periodically("outbox-pruning", poll, stop, every)
