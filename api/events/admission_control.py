"""Admission control: limits on ingestion, checked before bodies are read."""

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
"""Seconds between two reads of the outbox's age."""


class AdmissionControl:
    """Counts the requests in progress in one process, and keeps the age of the oldest undelivered event."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits, self._metrics = limits, metrics
        self._oldest_seconds = 0.0
        self._requests = 0
        self._bytes = 0

    @contextmanager
    def admitted(self, size: int) -> Iterator[None]:
        """Admit one request of `size` bytes. Raises ProblemError when a limit is reached, before the body is read."""
        if self._oldest_seconds > self._limits.backlog_seconds:
            hours = self._oldest_seconds / 3600
            raise ProblemError(
                "overloaded",
                f"Accepted events have waited {hours:.1f} hours for Temporal. Keep yours and send them later.",
            )
        if self._requests >= self._limits.in_flight or self._bytes + size > self._limits.in_flight_bytes:
            raise ProblemError(
                "quota-exceeded", f"{self._requests} requests are in progress. Send this one again in a moment."
            )
        self._requests += 1
        self._bytes += size
        try:
            yield
        finally:
            self._requests -= 1
            self._bytes -= size

    async def watch(self, database: Database) -> None:
        """Read the outbox's age every second, for the metric and for `admitted`."""
        while True:
            try:
                async with database.reading() as connection:
                    self._oldest_seconds, waiting = await backlog(connection)
                self._metrics.outbox(self._oldest_seconds, waiting)
            except Exception as error:  # noqa: BLE001 -- during an outage the requests themselves fail
                self._metrics.watch_failed(error)
            await asyncio.sleep(BACKLOG_EVERY)
