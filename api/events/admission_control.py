"""Admission control: which ingesting requests are refused before their bodies are read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from api.http.limits import Limits
from api.http.metrics import Metrics
from api.http.problems import ProblemError
from store.database import Database
from store.outbox.claims import backlog

BACKLOG_EVERY = 1.0
"""Seconds between two looks at the outbox's age."""


class AdmissionControl:
    """Counts the requests that one process has in hand, and knows how long accepted events wait for Temporal."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits, self._metrics = limits, metrics
        self._oldest_seconds = 0.0
        self._requests = 0
        self._bytes = 0

    @contextmanager
    def admitted(self, size: int) -> Iterator[None]:
        """Room for one request of `size` bytes. Raises ProblemError when there is none, before its body is read."""
        if self._oldest_seconds > self._limits.backlog_seconds:
            hours = self._oldest_seconds / 3600
            raise ProblemError(
                "overloaded", f"Accepted events wait {hours:.1f} hours for Temporal. Keep yours and send them later."
            )
        if self._requests >= self._limits.in_flight or self._bytes + size > self._limits.in_flight_bytes:
            raise ProblemError(
                "quota-exceeded", f"{self._requests} requests are being accepted. Send it again in a moment."
            )
        self._requests += 1
        self._bytes += size
        try:
            yield
        finally:
            self._requests -= 1
            self._bytes -= size

    async def watch(self, database: Database) -> None:
        """Read the outbox's age for ever: it is a metric, and a reason to refuse."""
        while True:
            try:
                async with database.reading() as connection:
                    self._oldest_seconds, waiting = await backlog(connection)
                self._metrics.outbox(self._oldest_seconds, waiting)
            except Exception as error:  # noqa: BLE001 -- an outage is told by the requests themselves
                self._metrics.watch_failed(error)
            await asyncio.sleep(BACKLOG_EVERY)
