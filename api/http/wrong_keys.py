"""Delay of answers to wrong keys, so that keys cannot be tried quickly.

Only refusals are delayed: a valid key from the same network is answered at once, for many callers may share a proxy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from starlette.requests import Request

from api.http.networks import network_of
from api.http.problems import ProblemError

FREE: Final = 20
"""Refusals of one network within `WINDOW` that are answered at once."""
WINDOW: Final = 60.0
MAX_DELAYED: Final = 100
"""Requests that wait at the same time in one process; more are refused without waiting."""
_MAX_NETWORKS: Final = 10_000


class WrongKeys:
    """Counts refusals by the network of the client, for one process."""

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._now = seconds, now
        self._counts: dict[str, tuple[float, int]] = {}
        self._delayed = 0

    async def delay(self, request: Request, refusal: ProblemError) -> ProblemError:
        """The answer to a request: its refusal, later if it is one of many for wrong keys."""
        if refusal.kind.name != "unauthenticated" or not self._is_one_of_many(network_of(request)):
            return refusal
        if self._delayed >= MAX_DELAYED:
            return ProblemError("quota-exceeded", "Too many requests with wrong keys are waiting for their answers.")
        self._delayed += 1
        try:
            await asyncio.sleep(self._seconds)
        finally:
            self._delayed -= 1
        return refusal

    def _is_one_of_many(self, network: str) -> bool:
        now = self._now()
        began, count = self._counts.get(network, (now, 0))
        if now - began > WINDOW:
            began, count = now, 0
        if len(self._counts) >= _MAX_NETWORKS and network not in self._counts:
            self._counts.clear()
        self._counts[network] = began, count + 1
        return count >= FREE
