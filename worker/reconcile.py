"""Once an hour: due dates that are past are compared with open runs, and whoever sleeps too long is woken.

A run can miss its timer only by something outside these rooms: a Temporal database restored from yesterday, a workflow
terminated by hand, a namespace whose retention took it. The row in Postgres knows better, and says what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import structlog
from prometheus_client import Counter
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from journeys import wire
from store import runs, sweeps
from store.database import Database
from worker.relay import Relay

log = structlog.get_logger()

EVERY: Final = 3_600.0
LATE: Final = timedelta(minutes=45)
"""A deadline past by less may still be on its way: anchors ring up to half an hour late."""
MOST: Final = 1_000
STUCK_ATTEMPTS: Final = 3

RECONCILED = Counter("tenure_reconciled_total", "Runs that the reconciler met past their due date", ["what"])


@dataclass(slots=True)
class Sweep:
    """What one sweep found: runs past their due date, and what became of each.

    `nudged` are open and only slept, `revived` had no workflow and continue from their row, `closed` had ended in
    Temporal only, `stuck` fail their workflow task again and again: a bug that waits for a deploy.
    """

    late: int = 0
    nudged: int = 0
    revived: int = 0
    closed: int = 0
    stuck: int = 0

    def count(self, what: str) -> None:
        setattr(self, what, getattr(self, what) + 1)
        RECONCILED.labels(what).inc()


class Reconciler:
    """One of any number; a lock in the store lets one sweep at a time."""

    def __init__(self, database: Database, client: Client, relay: Relay, *, late: timedelta = LATE) -> None:
        self.database, self.client, self.relay, self.late = database, client, relay, late

    async def run(self, stop: asyncio.Event, every: float = EVERY) -> None:
        """Sweep now and then every hour, until told to stop."""
        while not stop.is_set():
            try:
                await self.sweep()
            except Exception as fault:  # noqa: BLE001 -- whatever is down comes back within the hour
                log.warning("reconcile.failed", error=type(fault).__name__)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), every)

    async def sweep(self) -> Sweep | None:
        """Look at every run that is late; None when another process does."""
        found = Sweep()
        async with self.database.transaction() as connection:
            if not await sweeps.alone(connection):
                return None
            for run in await runs.overdue(connection, self.late, MOST):
                found.late += 1
                found.count(await self._wake(run))
        if found.late:
            log.warning("reconcile.swept", **{name: getattr(found, name) for name in Sweep.__slots__})
        return found

    async def _wake(self, run: Mapping[str, Any]) -> str:
        seen = await self._described(run["id"])
        if seen is not None and seen.status is not WorkflowExecutionStatus.RUNNING:
            await self._close(run["id"], seen.status)
            return "closed"
        await self._nudge(run)
        if seen is None:
            return "revived"
        attempt = seen.raw_description.pending_workflow_task.attempt
        return "stuck" if attempt >= STUCK_ATTEMPTS else "nudged"

    async def _described(self, run: str) -> WorkflowExecutionDescription | None:
        try:
            return await self.client.get_workflow_handle(run).describe()
        except RPCError as fault:
            if fault.status is RPCStatusCode.NOT_FOUND:
                return None
            raise

    async def _nudge(self, run: Mapping[str, Any]) -> None:
        """Signal-with-start: one that runs looks at its deadlines, one that is gone goes on from its row's state."""
        async with self.database.reading() as connection:
            step, memory = await runs.remembered(connection, run["id"])
        subject = "account" if run["subject_key"].startswith("a_") else "user"
        await self.relay.start_run(run, subject, {"state": memory, "step": step}, wire.SIGNAL_NUDGE, None)

    async def _close(self, run: str, status: WorkflowExecutionStatus | None) -> None:
        """It has ended in Temporal and its row does not know: by hand, or its last step was never told."""
        outcome = (status.name if status else "lost").lower()
        if status is WorkflowExecutionStatus.COMPLETED:
            outcome = await self.client.get_workflow_handle(run, result_type=str).result()
        async with self.database.transaction() as connection:
            await runs.close_lost(connection, run, outcome)
