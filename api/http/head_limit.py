"""Limits of connections: size and time of heads, and of bodies that nobody reads.

The server itself has none: a header without an end would be collected for ever, in quadratic time, and a refused
request whose body never ends would keep its connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.http.arrivals import Arrivals, ArrivingPart

MAX_HEAD: Final = 64 * 1024
"""Bytes of an incomplete head after which the connection ends. A complete one may have `api.http.asgi.MAX_HEADERS`."""
HEAD_SECONDS: Final = 10.0
"""Time in which a head must be complete, the first one from the beginning of the connection."""
HEADS_BYTES: Final = 32 * 1024 * 1024
"""Bytes of all incomplete heads of a process, by client address. Beyond them the slowest of the largest one ends."""
UNREAD_SECONDS: Final = 5.0
"""Time after an answer in which a body that nobody reads may end (nginx: `lingering_timeout`)."""


class HeadLimitProtocol(HttpToolsProtocol):
    """uvicorn's protocol with these limits."""

    heads = Arrivals(HEADS_BYTES)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head: ArrivingPart | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # Only what has left the head incomplete counts: a body may follow it in the same piece.
        if self._head is None or self.transport.is_closing():
            return
        self.heads.grow(self._head, len(data))
        if self._head.bytes > MAX_HEAD and not self.transport.is_closing():
            self._refuse(431, "The headers are too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin_head()

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self._head is None:
            self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # Of a pipelined request that has just begun the body is read.
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self._start_timer(UNREAD_SECONDS, self.transport.close)

    def _begin_head(self) -> None:
        if self._head is None:
            address = self.client[0] if self.client is not None else ""
            self._start_timer(HEAD_SECONDS, self._refuse, 408, "The head took too long.")
            self._head = self.heads.begin(("", address), self._give_way)

    def _end_head(self) -> None:
        self._stop_timer()
        if self._head is not None:
            self.heads.end(self._head)
            self._head = None

    def _give_way(self) -> None:
        if not self.transport.is_closing():
            self._refuse(408, "Too many heads arrive slowly, and this one has to give way.")

    def _start_timer(self, seconds: float, end: Callable[..., None], *arguments: Any) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, end, *arguments)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int, text: str) -> None:
        body = f"{text}\n".encode()
        head = b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()
