"""Slow clients of an API: `python -m tests.support.slow_clients URL PUBLIC SECRET NUMBER`, obeying `on` and `off`.

Each holds a connection with a head or a body that is never complete, sends a byte a second, and opens another when it
is closed. It prints the number of connections that it has after each command.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import Iterator
from itertools import cycle
from urllib.parse import urlsplit

SPREAD_SECONDS = 4.0
"""Time over which connections begin: all at the same moment would be a burst, not slow clients."""


def unfinished_requests(public: str, secret: str) -> Iterator[tuple[str, bytes]]:
    """Beginnings of requests that never end, over and over, each with the client address that it comes from."""
    head = b"POST /v1/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n"
    addresses = cycle(f"127.0.0.{n}" for n in range(2, 52))
    while True:
        for key in (public, secret):
            keyed = b"Authorization: Bearer %s\r\n" % key.encode()
            yield next(addresses), head % b"track" + keyed + b"\r\n{"
            yield next(addresses), head % b"batch" + keyed + b"\r\n" + b'{"batch": [' + b" " * 2_000
        yield next(addresses), head % b"track" + b"X-Slow: "
        yield next(addresses), b"GET /"
        yield next(addresses), b""


class SlowClients:
    """Connections to one API that end all together."""

    def __init__(self, url: str, public: str, secret: str) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._requests = unfinished_requests(public, secret)
        self._tasks: list[asyncio.Task[None]] = []
        self.open = 0

    async def begin(self, number: int) -> None:
        """Return when they have all begun."""
        self._tasks = [asyncio.create_task(self._hold(*next(self._requests))) for _ in range(number)]
        while self.open < number * 0.97:
            await asyncio.sleep(0.05)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _hold(self, address: str, beginning: bytes) -> None:
        await asyncio.sleep(random.uniform(0, SPREAD_SECONDS))
        while True:
            with contextlib.suppress(OSError):
                await self._trickle(address, beginning)

    async def _trickle(self, address: str, beginning: bytes) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port, local_addr=(address, 0))
        self.open += 1
        try:
            writer.write(beginning)
            while not reader.at_eof():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await reader.read(4_096)
                if beginning:
                    writer.write(b" ")
                    await writer.drain()
        finally:
            self.open -= 1
            writer.close()


async def obey(url: str, public: str, secret: str, number: int) -> None:
    """Begin at each line `on` of the standard input, end at each `off`."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    clients = SlowClients(url, public, secret)
    while line := await reader.readline():
        await (clients.begin(number) if line == b"on\n" else clients.end())
        print(clients.open, flush=True)
    await clients.end()


if __name__ == "__main__":
    asyncio.run(obey(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
