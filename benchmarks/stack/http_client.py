"""Thin HTTP/1.1 client of the load generator."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

HttpConnection = tuple[asyncio.StreamReader, asyncio.StreamWriter, float]
"""Reader, writer, and the instant since which the connection is idle."""
IDLE_SECONDS = 3.0
"""Servers close connections that are idle for longer: uvicorn after 5 s."""


class RefusedError(RuntimeError):
    """An answer other than 200: a benchmark of refusals would measure nothing."""


class HttpLoad:
    """Client of one server with one key, with as many connections as concurrent requests."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 80
        token = b64encode(f"{key}:".encode()).decode()
        self.head = f"Host: {parts.netloc}\r\nAuthorization: Basic {token}\r\nContent-Type: application/json\r\n"
        self.free: list[HttpConnection] = []

    async def post(self, path: str, body: Mapping[str, Any]) -> bytes:
        """POST JSON. Raises RefusedError."""
        content = orjson.dumps(body)
        head = f"POST {path} HTTP/1.1\r\n{self.head}Content-Length: {len(content)}\r\n\r\n"
        return await self._request(head.encode() + content)

    async def get(self, path: str) -> bytes:
        """GET. Raises RefusedError."""
        return await self._request(f"GET {path} HTTP/1.1\r\n{self.head}\r\n".encode())

    async def close(self) -> None:
        """Close the idle connections."""
        for _, writer, _ in self.free:
            writer.close()
        self.free.clear()

    async def _request(self, request: bytes) -> bytes:
        reader, writer = self._idle_connection() or await asyncio.open_connection(self.host, self.port)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        content = await reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            writer.close()
            raise RefusedError(f"{head.splitlines()[0].decode()}: {content[:300].decode()}")
        self.free.append((reader, writer, time.monotonic()))
        return content

    def _idle_connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        while self.free:
            reader, writer, since = self.free.pop()
            if time.monotonic() - since < IDLE_SECONDS:
                return reader, writer
            writer.close()
        return None
