"""Health endpoints: liveness, readiness, metrics."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.events.intake import Intake
from api.http.auth import KeyRegistry
from api.http.metrics import Metrics
from api.http.pagination import json_response
from api.http.problems import KINDS
from api.http.routes import Routes
from api.operations.schemas import Liveness, Readiness
from api.runs.temporal import RunCommands
from journeys.access.callers import Scope
from store.database import Database
from store.messages import sender_refusals
from store.outbox.backlog import Backlog
from store.process_clock import CLOCK
from store.revision import head, revision

TAG = "Health"
SECONDS = 3.0
STARTING: Final = 60.0
"""Seconds of a process for which readiness waits for a worker. Later it accepts events without one, as in an outage of Temporal."""
RETRY: Final = {"Retry-After": str(KINDS["store-unavailable"].retry_after)}


class HealthRoutes:
    """Routes for monitoring the process."""

    def __init__(
        self, database: Database, engine: RunCommands, intake: Intake, metrics: Metrics, keys: KeyRegistry
    ) -> None:
        self._database = database
        self._keys = keys
        self._engine = engine
        self._intake = intake
        self._metrics = metrics
        self._head = head()
        self._until = time.monotonic() + STARTING
        self._decides = False
        """A worker has answered a probe workflow since Temporal was last away."""
        self._checking: asyncio.Task[tuple[dict[str, Any], dict[str, str]]] | None = None

    def routes(self, routes: Routes) -> None:
        anyone = Scope.ANYONE
        routes.add("GET", "/livez", self.live, anyone, summary="Liveness", tag=TAG, gives=Liveness, fast=True)
        routes.add(
            "GET",
            "/readyz",
            self.ready,
            anyone,
            summary="Readiness",
            tag=TAG,
            gives=Readiness,
            fast=True,
            responses={503: {"description": "Events cannot be accepted", "model": Readiness}},
        )
        routes.add(
            "GET",
            "/metrics",
            self.metrics,
            Scope.READ,
            summary="Metrics for Prometheus",
            tag=TAG,
            fast=True,
            responses={
                200: {"description": "Prometheus text", "content": {"text/plain": {"schema": {"type": "string"}}}}
            },
        )

    async def live(self, _: Request) -> Response:
        """The process answers. No other component is checked, so that their outage does not restart this process."""
        return json_response({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """The status; with an operator's key for `read` also each check. Requests that arrive during a check share it."""
        return await self._readiness(in_depth=await self._keys.allows(request, Scope.READ))

    async def ready_in_depth(self, _: Request) -> Response:
        """The status and each check, for the operations listener."""
        return await self._readiness(in_depth=True)

    async def _readiness(self, *, in_depth: bool) -> Response:
        """Each component is checked by itself, within 3 s."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check_both())
        store, engine = await asyncio.shield(self._checking)
        checks: dict[str, Any] = {**store, "temporal": engine}
        statuses = {check["status"] for check in checks.values()}
        status = next(level for level in ("failing", "degraded", "ok") if level in statuses)
        answer = {"status": status, "checks": checks} if in_depth else {"status": status}
        return json_response(answer, 503, RETRY) if status == "failing" else json_response(answer)

    async def _check_both(self) -> tuple[dict[str, Any], dict[str, str]]:
        # One at a time: the route needs no key, and a flood of requests would take every connection of ingestion.
        return await asyncio.gather(self._store(), self._temporal())

    async def _store(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(SECONDS), self._database.reading() as connection:
                at = await revision(connection)
                refusals = await sender_refusals.open_refusals(connection) if at == self._head else []
        except Exception as error:  # noqa: BLE001 -- whatever the error, this process cannot accept events
            return {"database": _check("failing", type(error).__name__)}
        migrated = _check("ok", at) if at == self._head else _check("failing", f"at {at or 'none'}, needs {self._head}")
        return {
            "database": _check("ok", "answers"),
            "migrations": migrated,
            "outbox": self._outbox(self._intake.admission.backlog),
            "definitions": self._definitions(),
            "clock": self._clock(),
            "senders": _senders(refusals),
        }

    def _clock(self) -> dict[str, str]:
        """Instants are corrected by the skew; a large one says that the machine needs its time service."""
        seconds = CLOCK.skew.total_seconds()
        return _check("degraded" if CLOCK.is_skewed else "ok", f"{seconds:+.3f} s ahead of PostgreSQL")

    def _definitions(self) -> dict[str, str]:
        unreadable = self._intake.catalogue.unreadable.values()
        if not unreadable:
            return _check("ok", "all are readable")
        return _check("degraded", f"this version cannot read {len(unreadable)}: {'; '.join(unreadable)[:500]}")

    def _outbox(self, backlog: Backlog) -> dict[str, str]:
        """Never `failing`: a process that takes no traffic delivers nothing sooner."""
        is_late = backlog.median_seconds > self._intake.limits.backlog_seconds
        waiting = f"{backlog.waiting} rows wait, half of the lanes for {backlog.median_seconds:.0f} s or more"
        resting = f"; {backlog.resting} lanes rest after failures" if backlog.resting else ""
        refused = "; ingestion answers 503" if is_late else ""
        return _check("degraded" if is_late else "ok", waiting + resting + refused)

    async def _temporal(self) -> dict[str, str]:
        is_up = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SECONDS):
                is_up = await self._engine.answers()
                self._decides = is_up and (self._decides or await self._engine.decides())
        if not is_up:
            self._decides = False
            return _check("degraded", "does not answer; events are accepted and delivered later")
        if self._decides:
            return _check("ok", "answers, and a worker has answered a probe workflow")
        is_starting = time.monotonic() < self._until
        return _check("failing" if is_starting else "degraded", "no worker has answered a probe workflow yet")

    async def metrics(self, _: Request) -> Response:
        """Prometheus metrics. No label contains data of a person."""
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _senders(refusals: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Providers that refuse us. Events are accepted all the same."""
    if not refusals:
        return _check("ok", "no provider refuses us")
    refused = (f"{refusal['channel']}: {refusal['times']} refusals with {refusal['code']}" for refusal in refusals)
    return _check("degraded", "; ".join(refused)[:500] + "; such a channel is slowed, see /v1/sender-refusals")


def _check(status: str, detail: str) -> dict[str, str]:
    return {"status": status, "detail": detail}
