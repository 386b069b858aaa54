"""Listener that wakes readers of an in-app inbox."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable

from store.inbox.items import CHANNEL
from store.notifications import subscribe


class InboxListener:
    """Subscribed while there are readers. After a reconnect all are woken, because notifications may be lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._listening: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def changes(self, keys: Iterable[str]) -> AsyncIterator[asyncio.Event]:
        """An event that is set when the inbox of one of these keys changes."""
        own_keys, changed = tuple(keys), asyncio.Event()
        for key in own_keys:
            self._waiting.setdefault(key, set()).add(changed)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        try:
            yield changed
        finally:
            for key in own_keys:
                self._waiting[key].discard(changed)
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
        await subscribe(self._url, CHANNEL, on_notify=self._wake, on_connect=self.wake_all)

    def wake_all(self) -> None:
        """Wake every reader."""
        for key in tuple(self._waiting):
            self._wake(key)

    def _wake(self, key: str) -> None:
        for changed in self._waiting.get(key, ()):
            changed.set()
