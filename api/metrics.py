"""What Prometheus is told: counts and times by route template, never a value that a person sent."""

from __future__ import annotations

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from store.ingest import Accepted

log = structlog.get_logger()

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The meters of one process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "tenure_http_requests", "Requests answered.", ("route", "method", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "tenure_http_request_seconds", "Time to answer.", ("route",), buckets=SECONDS, registry=self.registry
        )
        self._events = Counter("tenure_events", "Events by what became of them.", ("result",), registry=self.registry)
        self._oldest = Gauge(
            "tenure_outbox_oldest_seconds", "Age of the oldest event that waits for its runs.", registry=self.registry
        )
        self._waiting = Gauge(
            "tenure_outbox_waiting_rows", "Rows that wait for their runs, counted up to 10,001.", registry=self.registry
        )
        for result in ("accepted", "duplicate", "quarantined"):
            self._events.labels(result)
        self._known: dict[tuple[str, str, int], Counter] = {}
        self._timed: dict[str, Histogram] = {}

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """One request. Label lookups are kept, because they cost more than the count."""
        key = (route, method, status)
        counter = self._known.get(key)
        if counter is None:
            counter = self._known[key] = self._requests.labels(route, method, str(status))
        counter.inc()
        timed = self._timed.get(route)
        if timed is None:
            timed = self._timed[route] = self._seconds.labels(route)
        timed.observe(seconds)

    def accepted(self, found: Accepted) -> None:
        self._events.labels("accepted").inc(found.accepted)
        self._events.labels("duplicate").inc(found.duplicates)
        self._events.labels("quarantined").inc(found.quarantined)

    def outbox(self, oldest_seconds: float, waiting: int) -> None:
        self._oldest.set(oldest_seconds)
        self._waiting.set(waiting)

    def watch_failed(self, error: Exception) -> None:
        log.warning("api.outbox_not_seen", error=type(error).__name__)

    def text(self) -> bytes:
        """The page that Prometheus reads."""
        return generate_latest(self.registry)
