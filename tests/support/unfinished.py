"""Requests that do not end: half-sent bodies, and events of a visitor whose row another transaction has locked."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from api.http.asgi import AsgiApp
from store.database import plain_url

VISITOR = "held-visitor"
_CALL = json.dumps({"anonymousId": VISITOR, "traits": {}}).encode()
_BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@dataclass
class Unfinished:
    """Requests by one key to one application, each with its network."""

    app: AsgiApp
    key: str
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    requests: list[asyncio.Task[int]] = field(default_factory=list)

    async def half_sent(self, networks: Sequence[str], path: str = "/v1/identify", sent: bytes = b"") -> None:
        """A request from each network whose body never ends; returns when all are waited for or answered."""
        waiting = list[str]()

        def receiver(network: str) -> Callable[[], Any]:
            pieces = [{"type": "http.request", "body": sent, "more_body": True}]

            async def receive() -> dict[str, Any]:
                if pieces:
                    return pieces.pop()
                waiting.append(network)
                await self.ended.wait()
                return {"type": "http.disconnect"}

            return receive

        begun = [self._send(network, path, receiver(network)) for network in networks]
        while len(waiting) + sum(request.done() for request in begun) < len(begun):
            await asyncio.sleep(0.01)

    def complete(self, network: str) -> None:
        """A request with an event of the visitor, whose body has arrived."""

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": _CALL, "more_body": False}

        self._send(network, "/v1/identify", receive)

    @property
    def statuses(self) -> list[int]:
        """Statuses of the requests that are answered."""
        return [request.result() for request in self.requests if request.done()]

    def _send(self, network: str, path: str, receive: Callable[[], Any]) -> asyncio.Task[int]:
        request = asyncio.create_task(self._call(network, path, receive))
        self.requests.append(request)
        return request

    async def _call(self, network: str, path: str, receive: Callable[[], Any]) -> int:
        status: list[int] = []

        async def answer(message: Any) -> None:
            status.append(message.get("status", 0))

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "headers": [(b"authorization", f"Bearer {self.key}".encode())] if self.key else [],
            "client": (network, 1), "server": ("127.0.0.1", 80), "state": {},
        }  # fmt: skip
        await self.app(scope, receive, answer)
        return status[0]


@contextlib.asynccontextmanager
async def unfinished(app: AsgiApp, key: str) -> AsyncIterator[Unfinished]:
    """Requests that end with the block: bodies by a disconnect."""
    requests = Unfinished(app, key)
    try:
        yield requests
    finally:
        requests.ended.set()
        await asyncio.gather(*requests.requests)


@contextlib.asynccontextmanager
async def visitor_locked(database_url: str, app: AsgiApp, key: str) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Lock the visitor's row; what is given waits until that many sessions wait for it."""
    connection = await asyncpg.connect(plain_url(database_url))
    try:
        async with unfinished(app, key) as first:
            first.complete("192.0.2.77")
        async with connection.transaction():
            keys = await connection.fetch("SELECT subject_key FROM identities WHERE value = $1", VISITOR)
            assert len(keys) == 1
            await connection.execute("SELECT 1 FROM subjects WHERE key = $1 FOR UPDATE", keys[0]["subject_key"])

            async def blocked() -> int:
                return int(await connection.fetchval(_BLOCKED))

            yield blocked
    finally:
        await connection.close()
