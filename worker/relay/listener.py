"""What wakes the relay: PostgreSQL's NOTIFY on a connection of its own, opened again whenever it is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg

from store.database import plain_url
from store.outbox import queue as outbox


class OutboxListener:
    """`told` is set when something was put into the outbox; also when nobody could have told us for a while."""

    def __init__(self, url: str) -> None:
        self.url = plain_url(url)
        self.told = asyncio.Event()

    async def wait(self, stop: asyncio.Event, pause: float) -> None:
        """Until told, told to stop, or that many seconds are over."""
        waits = [asyncio.create_task(self.told.wait()), asyncio.create_task(stop.wait())]
        _, left = await asyncio.wait(waits, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hold a connection that listens, and open it again when it is lost."""
        task = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _listen(self) -> None:
        while True:
            lost = asyncio.Event()
            try:
                connection = await asyncpg.connect(self.url)
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(1.0)
                continue
            try:
                connection.add_termination_listener(lambda _, lost=lost: lost.set())
                await connection.add_listener(outbox.CHANNEL, lambda *_: self.told.set())
                self.told.set()
                await lost.wait()
            finally:
                await connection.close(timeout=1)
