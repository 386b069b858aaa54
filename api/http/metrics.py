"""Prometheus metrics of the API, by route template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from journeys.events.ids.placeholder_ids import ID_FIELDS
from store.availability import log_outage
from store.events.ingest import IngestResult
from store.outbox.backlog import Backlog

log = structlog.get_logger()

TASK_SECONDS = (
    60.0,
    300.0,
    900.0,
    3_600.0,
    4 * 3_600.0,
    8 * 3_600.0,
    86_400.0,
    3 * 86_400.0,
    7 * 86_400.0,
    30 * 86_400.0,
)
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Metrics of one process, in their own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "tenure_http_requests", "Requests answered.", ("route", "method", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "tenure_http_request_seconds", "Time to answer.", ("route",), buckets=SECONDS, registry=self.registry
        )
        self._events = Counter("tenure_events", "Events by result.", ("result",), registry=self.registry)
        self._oldest = Gauge(
            "tenure_outbox_oldest_seconds", "Age of the oldest event that waits for its runs.", registry=self.registry
        )
        self._waiting = Gauge(
            "tenure_outbox_waiting_rows", "Rows that wait for their runs, counted up to 10,001.", registry=self.registry
        )
        self._median = Gauge(
            "tenure_outbox_median_seconds",
            "Median age of lanes that wait and do not rest, of a sample.",
            registry=self.registry,
        )
        self._tasks = Histogram(
            "tenure_task_seconds",
            "From a task's opening to the first action on it, and to its end, by kind of task.",
            ("task", "until"),
            buckets=TASK_SECONDS,
            registry=self.registry,
        )
        self._placeholders = Counter(
            "tenure_placeholder_ids",
            "Ids of events that name nobody, such as undefined, by field.",
            ("field",),
            registry=self.registry,
        )
        for field in ID_FIELDS:
            self._placeholders.labels(field)
        for result in ("accepted", "duplicate", "quarantined"):
            self._events.labels(result)
        self._known: dict[tuple[str, str, int], Counter] = {}
        self._timed: dict[str, Histogram] = {}

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request. Labelled metrics are cached: the lookup costs more than the count."""
        key = (route, method, status)
        counter = self._known.get(key)
        if counter is None:
            counter = self._known[key] = self._requests.labels(route, method, str(status))
        counter.inc()
        timed = self._timed.get(route)
        if timed is None:
            timed = self._timed[route] = self._seconds.labels(route)
        timed.observe(seconds)

    def accepted(self, result: IngestResult) -> None:
        self._events.labels("accepted").inc(result.accepted)
        self._events.labels("duplicate").inc(result.duplicates)
        self._events.labels("quarantined").inc(result.quarantined)

    def placeholder_id(self, field: str) -> None:
        """Count an id that names nobody."""
        self._placeholders.labels(field).inc()

    def task_acted(self, task: Mapping[str, Any]) -> None:
        """Record the time to the first action on a task: the time to intervention (C10)."""
        self._tasks.labels(task["task"], "first_action").observe(max(0.0, task["seconds_to_first_action"]))

    def task_closed(self, task: Mapping[str, Any]) -> None:
        """Record the time to the end of a task. Closing an untouched task is also the first action on it."""
        if task["first_action_at"] == task["closed_at"]:
            self.task_acted(task)
        self._tasks.labels(task["task"], "closed").observe(max(0.0, task["seconds_to_close"]))

    def outbox(self, backlog: Backlog) -> None:
        self._oldest.set(backlog.oldest_seconds)
        self._waiting.set(backlog.waiting)
        self._median.set(backlog.median_seconds)

    def watch_failed(self, error: Exception) -> None:
        log_outage("api.outbox_not_seen", error)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
