"""Reconciliation: an hourly sweep that compares open runs with Temporal workflows.

A run misses its timer, or loses its workflow, only by something outside the product: Temporal's database restored from a
backup, a workflow terminated by hand, a namespace whose retention ended. The run's row in PostgreSQL determines the repair.

- Runs past their due date: all of them, in every sweep.
- Runs without a useful due date (they wait for signals, are paused, live on a test clock, or have not begun): as many as the
  sweep's time allows; the next sweep continues behind them.
- People with messages that should have been decided long ago: their outreach is woken, which starts one that was lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog
from prometheus_client import Counter
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from journeys.protocol import wire
from store.database import Database
from store.locks import Lock, session_lock
from store.operations import reconciliation
from store.outbox import queue as outbox
from worker.loops.loop import sleep_or_stop
from worker.relay.signals import WorkflowSignals

log = structlog.get_logger()

SWEEP_SECONDS: Final = 3_600.0
RETRY_SECONDS: Final = 60.0
"""Pause after a sweep that was cut short."""
LATE: Final = timedelta(minutes=45)
"""A deadline past by less may still be on its way: anchors fire up to half an hour late."""
BEGUN: Final = timedelta(hours=1)
"""A run admitted longer ago should have made its first step."""
PAGE: Final = 500
AT_ONCE: Final = 8
QUIET_SECONDS: Final = 600.0
"""Time of one sweep for runs without a due date: it compares several hundred a second."""
STUCK_ATTEMPTS: Final = 3
MAX_FAILURES: Final = 3
"""Failures in one page before the sweep is cut: then Temporal is down."""

RECONCILED = Counter("tenure_reconciled_total", "Runs and people that reconciliation repaired", ["what"])


@dataclass(slots=True)
class SweepResult:
    """Counts of one sweep.

    - `late`: runs past their due date, or never begun
    - `nudged`: their workflow was open and only slept
    - `revived`: they had no workflow, and continue from their row
    - `closed`: their workflow had ended, and now the row has too
    - `stuck`: their workflow task fails again and again, a bug that waits for a deployment
    - `failed`: not repaired now; the next sweep tries again
    - `woken`: people with messages that were due for too long
    """

    late: int = 0
    nudged: int = 0
    revived: int = 0
    closed: int = 0
    stuck: int = 0
    failed: int = 0
    woken: int = 0

    def count(self, outcome: str) -> None:
        setattr(self, outcome, getattr(self, outcome) + 1)
        RECONCILED.labels(outcome).inc()


class Reconciler:
    """One of any number of processes; a lock in the database lets one sweep at a time."""

    def __init__(self, database: Database, client: Client, signals: WorkflowSignals, *, late: timedelta = LATE) -> None:
        self.database, self.client, self.signals, self.late = database, client, signals, late
        self.begun = min(late, BEGUN)
        self.last_quiet = ""
        """Id of the last run without a due date that was compared."""
        self.stop = asyncio.Event()

    async def run(self, stop: asyncio.Event, every: float = SWEEP_SECONDS, retry: float = RETRY_SECONDS) -> None:
        """Sweep now and then every hour until `stop` is set; after a failed sweep sooner. Raises nothing."""
        self.stop = stop
        while not stop.is_set():
            pause = every
            try:
                await self.sweep()
            except Exception as error:  # noqa: BLE001 — an outage ends; the loop goes on
                log.warning("reconcile.cut", error=type(error).__name__)
                pause = min(every, retry)
            await sleep_or_stop(stop, pause)

    async def sweep(self) -> SweepResult | None:
        """One sweep; None when another process is sweeping. Raises when most of a page could not be repaired."""
        result = SweepResult()
        async with session_lock(self.database, Lock.SWEEP) as lock:
            if lock is None:
                return None
            await self._overdue(result)
            await self._forgotten_messages(result)
            await self._quiet(result)
        if result != SweepResult():
            log.warning("reconcile.swept", **{name: getattr(result, name) for name in SweepResult.__slots__})
        return result

    async def _overdue(self, result: SweepResult) -> None:
        """Compare every run past its due date."""
        past = (reconciliation.BEGINNING, "")
        while not self.stop.is_set():
            async with self.database.reading() as connection:
                page = await reconciliation.overdue_runs(connection, self.late, past, PAGE)
            result.late += len(page)
            await self._compare(page, result)
            if len(page) < PAGE:
                return
            past = (page[-1]["next_due_at"], page[-1]["id"])

    async def _forgotten_messages(self, result: SweepResult) -> None:
        """Wake the outreach of people with messages long due: one that runs changes nothing, a lost one is started."""
        past = ""
        while not self.stop.is_set():
            async with self.database.transaction() as connection:
                page = await reconciliation.people_with_forgotten_messages(connection, self.late, past, PAGE)
                for person in page:
                    await outbox.wake_outreach(connection, person)
            for _ in page:
                result.count("woken")
            if len(page) < PAGE:
                return
            past = page[-1]

    async def _quiet(self, result: SweepResult) -> None:
        """Compare runs without a due date from where the last sweep ended, once around at most, while time allows."""
        until = asyncio.get_running_loop().time() + QUIET_SECONDS
        start, around = self.last_quiet, False
        while not self.stop.is_set() and asyncio.get_running_loop().time() < until:
            async with self.database.reading() as connection:
                page = await reconciliation.runs_without_due_date(connection, self.begun, self.last_quiet, PAGE)
            if around:
                page = [run for run in page if run["id"] <= start]
            await self._compare(page, result)
            full = len(page) == PAGE
            self.last_quiet = page[-1]["id"] if full else ""
            if not full:
                if around or not start:
                    return
                around = True

    async def _compare(self, page: list[Mapping[str, Any]], result: SweepResult) -> None:
        """Compare a page of runs, a few at a time. Raises the last error after more than MAX_FAILURES."""
        slots, errors = asyncio.Semaphore(AT_ONCE), list[Exception]()

        async def compare(run: Mapping[str, Any]) -> None:
            async with slots:
                if self.stop.is_set() or len(errors) > MAX_FAILURES:
                    return
                try:
                    await self._repair(run, result)
                except Exception as error:  # noqa: BLE001 — one run's failure must not stop the others
                    log.warning("reconcile.failed", run=run["id"], error=type(error).__name__)
                    result.count("failed")
                    errors.append(error)

        await asyncio.gather(*(compare(run) for run in page))
        if len(errors) > MAX_FAILURES:
            raise errors[-1]

    async def _repair(self, run: Mapping[str, Any], result: SweepResult) -> None:
        workflow = await self._described(run["id"])
        if workflow is None:
            await self._nudge(run)
            result.count("revived")
        elif workflow.status is not WorkflowExecutionStatus.RUNNING:
            await self._close(run["id"], workflow)
            result.count("closed")
        elif workflow.raw_description.pending_workflow_task.attempt >= STUCK_ATTEMPTS:
            await self._nudge(run)
            result.count("stuck")
        elif self._is_asleep(run):
            await self._nudge(run)
            result.count("nudged")

    def _is_asleep(self, run: Mapping[str, Any]) -> bool:
        """Whether an open workflow has not taken the step that is due by its row."""
        due = run["next_due_at"]
        return not run["state"] or (run["clock"] is None and due is not None and due < datetime.now(UTC) - self.late)

    async def _described(self, run: str) -> WorkflowExecutionDescription | None:
        try:
            return await self.client.get_workflow_handle(run).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise

    async def _nudge(self, run: Mapping[str, Any]) -> None:
        """Signal-with-start: a workflow that runs checks its deadlines, a new one resumes from the run's row."""
        subject = "account" if run["subject_key"].startswith("a_") else "user"
        await self.signals.start_run({**run, "resumes": True}, subject, wire.SIGNAL_NUDGE, ())

    async def _close(self, run: str, workflow: WorkflowExecutionDescription) -> None:
        """Close the row of a workflow that has ended: terminated by hand, or its last step was never recorded."""
        outcome = (workflow.status.name if workflow.status else "lost").lower()
        if workflow.status is WorkflowExecutionStatus.COMPLETED:
            outcome = await self.client.get_workflow_handle(run, result_type=str).result()
        async with self.database.transaction() as connection:
            await reconciliation.close_run(connection, run, outcome, workflow.close_time or datetime.now(UTC))
