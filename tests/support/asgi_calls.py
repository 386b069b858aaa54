"""Calls of an ASGI application in a loop of their own, each with the CPU time that it took."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from api.http.asgi import AsgiApp

Headers = Sequence[tuple[bytes, bytes]]
PIECE = 64 * 1024


@dataclass(frozen=True)
class MeasuredAnswer:
    """Status, body and CPU seconds of this process. `read` are the bytes of the body that the application asked for."""

    status: int
    body: bytes
    cpu: float
    read: int


class MeasuringCaller:
    """Sends requests as a server would after reading their heads: any bytes in headers and bodies."""

    def __init__(self, app: AsgiApp) -> None:
        self._app, self._loop = app, asyncio.new_event_loop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._end())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _end(self) -> None:
        """End what the application has opened: connections and the parser of mails. Its loops would be measured, too."""
        async with self._app.app.router.lifespan_context(self._app.app):
            pass

    def call(self, method: str, path: str, body: bytes = b"", headers: Headers = ()) -> MeasuredAnswer:
        """One request. CPU time, with that of threads which it uses, so that a busy machine does not count.

        Nor does a collection of garbage: in a process that has run thousands of tests a full one takes a second.
        """
        gc.disable()
        try:
            began = time.process_time()
            status, answer, read = self._loop.run_until_complete(self._exchange(method, path, body, headers))
            return MeasuredAnswer(status, answer, time.process_time() - began, read)
        finally:
            gc.enable()

    async def _exchange(self, method: str, path: str, body: bytes, headers: Headers) -> tuple[int, bytes, int]:
        pieces = [body[at : at + PIECE] for at in range(0, len(body), PIECE)] or [b""]
        sent: list[dict[str, Any]] = []
        read = 0

        async def receive() -> dict[str, Any]:
            nonlocal read
            if not pieces:
                return {"type": "http.disconnect"}
            piece = pieces.pop(0)
            read += len(piece)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        async def send(message: Any) -> None:
            sent.append(message)

        raw_path, _, query = path.encode().partition(b"?")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": raw_path.decode(), "raw_path": raw_path, "query_string": query, "root_path": "",
            "headers": list(headers), "client": ("192.0.2.1", 1), "server": ("127.0.0.1", 80), "state": {},
        }  # fmt: skip
        await self._app(scope, receive, send)
        content = b"".join(message.get("body", b"") for message in sent)
        return int(sent[0]["status"]), content, read
