"""Admission control: limits on ingestion for requests whose bodies have arrived."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from api.http.limits import Limits
from api.http.metrics import Metrics
from api.http.problems import ProblemError
from store.database import Database
from store.outbox.backlog import Backlog, read_backlog

PUBLIC_SHARE: Final = 0.5
"""Part of the requests and bytes in progress that public keys may have: strangers never take the servers' part."""
BACKLOG_EVERY = 1.0
"""Seconds between two measures of the outbox."""


@dataclass(slots=True)
class _InProgress:
    """Requests in progress and their bytes, and the most that may be."""

    most_requests: float
    most_bytes: float
    requests: int = 0
    bytes: int = 0

    def has_room(self, size: int) -> bool:
        return self.requests < self.most_requests and self.bytes + size <= self.most_bytes

    def change(self, requests: int, size: int) -> None:
        self.requests += requests
        self.bytes += size


class AdmissionControl:
    """Counts the requests in progress in one process, and keeps the backlog of the outbox."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits, self._metrics = limits, metrics
        self.backlog = Backlog()
        self._all = _InProgress(limits.in_flight, limits.in_flight_bytes)
        self._public = _InProgress(limits.in_flight * PUBLIC_SHARE, limits.in_flight_bytes * PUBLIC_SHARE)

    @contextmanager
    def admitted(self, size: int, *, by_public_key: bool = False) -> Iterator[None]:
        """Admit one request of `size` bytes. Raises ProblemError when a limit is reached."""
        self.refuse_in_backlog()
        counts = (self._all, self._public) if by_public_key else (self._all,)
        if not all(count.has_room(size) for count in counts):
            raise ProblemError(
                "quota-exceeded", f"{self._all.requests} requests are in progress. Send this one again in a moment."
            )
        for count in counts:
            count.change(1, size)
        try:
            yield
        finally:
            for count in counts:
                count.change(-1, -size)

    def refuse_in_backlog(self) -> None:
        """Raise ProblemError (503) while accepted events wait too long."""
        if self.backlog.median_seconds > self._limits.backlog_seconds:
            hours = self.backlog.median_seconds / 3600
            raise ProblemError(
                "overloaded",
                f"Accepted events have waited for Temporal for {hours:.1f} hours (median). Nothing was stored. Send yours again later.",
            )

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
