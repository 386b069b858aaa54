"""Admission control: limits on ingestion, checked before bodies are read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from api.http.limits import Limits
from api.http.metrics import Metrics
from api.http.problems import ProblemError
from store.database import Database
from store.outbox.backlog import Backlog, read_backlog

BACKLOG_EVERY = 1.0
"""Seconds between two measures of the outbox."""


class AdmissionControl:
    """Counts the requests in progress in one process, and keeps the backlog of the outbox."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits, self._metrics = limits, metrics
        self.backlog = Backlog()
        self._requests = 0
        self._bytes = 0

    @contextmanager
    def admitted(self, size: int) -> Iterator[None]:
        """Admit one request of `size` bytes. Raises ProblemError when a limit is reached, before the body is read."""
        if self.backlog.median_seconds > self._limits.backlog_seconds:
            hours = self.backlog.median_seconds / 3600
            raise ProblemError(
                "overloaded",
                f"Accepted events wait for Temporal, half of them for {hours:.1f} hours or more. Keep yours and send them later.",
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
        """Measure the outbox every second, for the metrics and for `admitted`."""
        while True:
            try:
                async with database.reading() as connection:
                    self.backlog = await read_backlog(connection)
                self._metrics.outbox(self.backlog)
            except Exception as error:  # noqa: BLE001 -- during an outage the requests themselves fail
                self._metrics.watch_failed(error)
            await asyncio.sleep(BACKLOG_EVERY)
