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
        """Wait for a place. Raises ProblemError (429) where the line is too long."""
        line = self._lines.setdefault(network, _Line(asyncio.Semaphore(self._places)))
        if line.requests >= self._places * (1 + WAITING):
            raise ProblemError("quota-exceeded", "Too many requests of this network wait. Nothing was stored.")
        line.requests += 1
        try:
            async with line.places:
                yield
        finally:
            line.requests -= 1
            if line.requests == 0:
                self._lines.pop(network, None)
