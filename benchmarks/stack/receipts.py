"""Receipts of mails by recipient, reported by the mail sink."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path
from typing import Self


class Receipts:
    """`await receipts.next(address)` returns the instant at which the next mail to that address was complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.arrived: defaultdict[str, asyncio.Queue[float]] = defaultdict(asyncio.Queue)

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_unix_server(self._listen, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    async def next(self, address: str, timeout: float = 30.0) -> float:
        """Seconds of the monotonic clock. Raises TimeoutError when no mail comes within `timeout` seconds."""
        async with asyncio.timeout(timeout):
            return await self.arrived[address].get()

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            address, nanoseconds = line.decode().split()
            self.arrived[address].put_nowait(int(nanoseconds) / 1e9)
        writer.close()
