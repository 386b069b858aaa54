"""Lines of networks: requests that wait for their turn.

A few of each network are in progress at the same time: one with many connections delays only itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from api.http.problems import ProblemError

WAITING: Final = 32
"""Requests that may wait for each that is in progress; more are refused."""
PLACE_SECONDS: Final = 3.0
"""Longest wait for a place: well below the time of a request, whose end would be reported as the database's fault."""


@dataclass(slots=True)
class _Line:
    places: asyncio.Semaphore
    requests: int = 0


class NetworkLines:
    """The lines of one process. `places` requests of a network are in progress at the same time."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._lines: dict[str, _Line] = {}

    @asynccontextmanager
    async def place(self, network: str) -> AsyncIterator[None]:
        """Wait for a place. Raises ProblemError (429) where the line or the wait is too long."""
        line = self._lines.setdefault(network, _Line(asyncio.Semaphore(self._places)))
        if line.requests >= self._places * (1 + WAITING):
            raise ProblemError("quota-exceeded", "Too many requests from this network are waiting. Nothing was stored.")
        line.requests += 1
        try:
            await _take(line.places)
            try:
                yield
            finally:
                line.places.release()
        finally:
            line.requests -= 1
            if line.requests == 0:
                self._lines.pop(network, None)


async def _take(places: asyncio.Semaphore) -> None:
    try:
        async with asyncio.timeout(PLACE_SECONDS):
            await places.acquire()
    except TimeoutError:
        raise ProblemError(
            "quota-exceeded",
            "Other requests from this network are in progress. Nothing was stored. Send this one again in a moment.",
        ) from None
