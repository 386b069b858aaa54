"""Listener that wakes readers of an in-app inbox."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable

from store.inbox.items import CHANNEL
from store.notifications import subscribe


class InboxListener:
    """Subscribed while anybody waits. After a reconnect everybody is woken: their notifications may be lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._listening: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def ringing(self, keys: Iterable[str]) -> AsyncIterator[asyncio.Event]:
        """An event that is set when something changes in the inbox of one of these keys."""
        mine, rung = tuple(keys), asyncio.Event()
        for key in mine:
            self._waiting.setdefault(key, set()).add(rung)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        try:
            yield rung
        finally:
            for key in mine:
                self._waiting[key].discard(rung)
                if not self._waiting[key]:
                    del self._waiting[key]
            if not self._waiting:
                await self._stop()

    async def _stop(self) -> None:
        task, self._listening = self._listening, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _listen(self) -> None:
        await subscribe(self._url, CHANNEL, on_notify=self._ring, on_connect=self.ring_all)

    def ring_all(self) -> None:
        """Wake everybody who waits."""
        for key in tuple(self._waiting):
            self._ring(key)

    def _ring(self, key: str) -> None:
        for rung in self._waiting.get(key, ()):
            rung.set()
