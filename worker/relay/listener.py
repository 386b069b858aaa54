"""Outbox listener: wakes a loop when PostgreSQL notifies of new rows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from store.notifications import subscribe
from store.outbox import queue as outbox


class OutboxListener:
    """Has an event for each payload, set for a new row and after every connect: notifications in between are lost."""

    def __init__(self, url: str, channel: str = outbox.CHANNEL, payloads: Sequence[str] = ("",)) -> None:
        self.url, self.channel = url, channel
        self.notified = {payload: asyncio.Event() for payload in payloads}

    async def wait(self, stop: asyncio.Event, seconds: float, payload: str = "") -> None:
        """Until notified, stopped, or that many seconds have passed."""
        waits = [asyncio.create_task(self.notified[payload].wait()), asyncio.create_task(stop.wait())]
        _, pending = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Stay subscribed while the body runs."""
        task = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _listen(self) -> None:
        await subscribe(self.url, self.channel, on_notify=self._notify, on_connect=self._notify_all)

    def _notify(self, payload: str) -> None:
        if payload in self.notified:
            self.notified[payload].set()
        else:
            self._notify_all()

    def _notify_all(self) -> None:
        for event in self.notified.values():
            event.set()
