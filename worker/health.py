"""Health port of the worker: `/livez`, `/readyz` and `/metrics`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from prometheus_client import REGISTRY, Gauge, generate_latest

from store.process_clock import CLOCK

TEXT = "text/plain; charset=utf-8"
REQUEST_SECONDS = 5.0
SKEW = Gauge("tenure_clock_skew_seconds", "How far this machine's clock is ahead of PostgreSQL's")


@contextlib.asynccontextmanager
async def health_port(port: int, ready: Callable[[], bool], *, host: str = "127.0.0.1") -> AsyncIterator[None]:
    """Serve health while the body runs; port 0 serves nothing. `/readyz` answers 503 unless `ready` returns True."""
    if port == 0:
        yield
        return

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), REQUEST_SECONDS)
            writer.write(_answer(head, ready))
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, host, port):
        yield


def _skew_seconds() -> float:
    return CLOCK.skew.total_seconds()


SKEW.set_function(_skew_seconds)


def _answer(head: bytes, ready: Callable[[], bool]) -> bytes:
    path = head.split(b" ", 2)[1].partition(b"?")[0] if head.count(b" ") >= 2 else b""
    if path == b"/livez":
        status, body = "200 OK", b"alive\n"
    elif path == b"/readyz":
        status, body = ("200 OK", b"ready\n") if ready() else ("503 Service Unavailable", b"not ready\n")
    elif path == b"/metrics":
        status, body = "200 OK", generate_latest(REGISTRY)
    else:
        status, body = "404 Not Found", b"/livez, /readyz, /metrics\n"
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {TEXT}", f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode() + body
