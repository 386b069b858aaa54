"""Listener of a PostgreSQL channel: wakes a loop, and keeps the payloads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from store.notifications import subscribe


class NotificationListener:
    """`notified` is set for each notification, and after every connect: those in between are lost."""

    def __init__(self, url: str, channel: str) -> None:
        self.url, self.channel = url, channel
        self.notified = asyncio.Event()
        self.payloads: set[str] = set()
        """Payloads of notifications since `take_payloads`."""

    def take_payloads(self) -> set[str]:
        """Payloads of notifications since the last call."""
        payloads, self.payloads = self.payloads, set()
        return payloads

    async def wait(self, stop: asyncio.Event, seconds: float) -> None:
        """Until notified, stopped, or that many seconds have passed."""
        waits = [asyncio.create_task(self.notified.wait()), asyncio.create_task(stop.wait())]
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
        await subscribe(self.url, self.channel, on_notify=self._note, on_connect=self.notified.set)

    def _note(self, payload: str) -> None:
        self.payloads.add(payload)
        self.notified.set()
