"""Listener of a PostgreSQL channel: wakes a loop, and keeps the payloads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from store.notifications import subscribe


class NotificationListener:
    """Has an event for each payload, set by its notification and after every connect: those in between are lost.

    A notification with another payload sets all of them.
    """

    def __init__(self, url: str, channel: str, payloads: Sequence[str] = ("",)) -> None:
        self.url, self.channel = url, channel
        self.notified = {payload: asyncio.Event() for payload in payloads}
        self.payloads: set[str] = set()
        """Payloads of notifications since `take_payloads`."""

    def take_payloads(self) -> set[str]:
        """Payloads of notifications since the last call."""
        payloads, self.payloads = self.payloads, set()
        return payloads

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
        self.payloads.add(payload)
        if payload in self.notified:
            self.notified[payload].set()
        else:
            self._notify_all()

    def _notify_all(self) -> None:
        for event in self.notified.values():
            event.set()
