"""Who looks on at an inbox is woken by PostgreSQL's NOTIFY, over one connection of the process, whoever many look on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

import asyncpg

from store.database import plain_url
from store.inbox.items import CHANNEL

REOPEN_SECONDS = 1.0


class InboxListener:
    """Listens while anybody looks on. After a lost connection everybody is woken: nobody could have told them."""

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
        while True:
            lost = asyncio.Event()
            try:
                connection = await asyncpg.connect(plain_url(self._url))
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(REOPEN_SECONDS)
                continue
            try:
                connection.add_termination_listener(lambda _, lost=lost: lost.set())
                await connection.add_listener(CHANNEL, self._told)
                self.ring_all()
                await lost.wait()
            finally:
                await connection.close(timeout=1)

    def ring_all(self) -> None:
        """Wake everybody who looks on."""
        for key in tuple(self._waiting):
            self._ring(key)

    def _told(self, _connection: Any, _pid: int, _channel: str, key: object) -> None:
        self._ring(str(key))

    def _ring(self, key: str) -> None:
        for rung in self._waiting.get(key, ()):
            rung.set()
