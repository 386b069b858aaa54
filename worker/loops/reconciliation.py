"""Reconciliation: an hourly sweep that compares open runs with Temporal workflows.

A run misses its timer, or loses its workflow, only by something outside the product: Temporal's database restored from a
backup, a workflow terminated by hand, a namespace whose retention ended. The run's row in PostgreSQL determines the repair.

- Runs past their due date: all of them, in every sweep.
- Every open run, whatever it waits for, by id: as many as the sweep's time allows. The next sweep goes on behind them, in any
  process, so a round over all of them takes as many hours as there are half millions of runs.
- People with messages that should have been decided long ago: their outreach is woken, which starts one that was lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import structlog
from prometheus_client import Counter
from temporalio.client import Client

from journeys.protocol import wire
from store.database import Database
from store.locks import Lock, session_lock
from store.operations import reconciliation
from store.outbox import queue as outbox
from store.process_clock import current_instant
from worker.loops.loop import sleep_or_stop
from worker.relay.ended_runs import RUNNING, EndedRuns
from worker.relay.failures import RunHasEnded
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
OPEN_SECONDS: Final = 600.0
"""Time of one sweep for open runs that are not overdue: it compares several hundred a second."""
PLACE: Final = "open runs"
STUCK_ATTEMPTS: Final = 3
MAX_FAILURES: Final = 3
"""Failures in one page before Temporal is asked whether it answers; if not, the sweep is cut."""

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
        self.database, self.signals, self.late = database, signals, late
        self.ended = EndedRuns(database, client)
        self.begun = min(late, BEGUN)
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
        """One sweep; None when another process is sweeping. Raises when Temporal does not answer."""
        result = SweepResult()
        async with session_lock(self.database, Lock.SWEEP) as lock:
            if lock is None:
                return None
            await self._overdue(result)
            await self._forgotten_messages(result)
            await self._every_open_run(result)
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

    async def _every_open_run(self, result: SweepResult) -> None:
        """Compare open runs from where the last sweep ended, once around at most, while time allows."""
        until = asyncio.get_running_loop().time() + OPEN_SECONDS
        async with self.database.reading() as connection:
            start = place = await reconciliation.read_place(connection, PLACE)
        is_around = False
        while not self.stop.is_set() and asyncio.get_running_loop().time() < until:
            async with self.database.reading() as connection:
                page = await reconciliation.open_runs_after(connection, self.begun, self.late, place, PAGE)
            is_last = len(page) < PAGE
            if is_around:
                page = [run for run in page if run["id"] <= start]
            await self._compare(page, result)
            if self.stop.is_set():  # some of the page may not be compared
                return
            place = "" if is_last else page[-1]["id"] if page else start
            async with self.database.reading() as connection:
                await reconciliation.keep_place(connection, PLACE, place)
            if (is_last and (is_around or not start)) or (is_around and place >= start):
                return
            is_around = is_around or is_last

    async def _compare(self, page: list[Mapping[str, Any]], result: SweepResult) -> None:
        """Compare a page of runs, a few at a time. Raises the last error if Temporal does not answer any more."""
        slots, failures = asyncio.Semaphore(AT_ONCE), PageFailures(self.signals)

        async def compare(run: Mapping[str, Any]) -> None:
            async with slots:
                if self.stop.is_set() or failures.outage is not None:
                    return
                try:
                    await self._repair(run, result)
                except Exception as error:  # noqa: BLE001 — one run's failure must not stop the others
                    log.warning("reconcile.failed", run=run["id"], error=type(error).__name__)
                    result.count("failed")
                    await failures.add(error)

        await asyncio.gather(*(compare(run) for run in page))
        if failures.outage is not None:
            raise failures.outage

    async def _repair(self, run: Mapping[str, Any], result: SweepResult) -> None:
        workflow = await self.ended.described(run["id"])
        if workflow is None:
            await nudge(run, self.signals, self.ended)
            result.count("revived")
        elif workflow.status is not RUNNING:
            await self.ended.close(run["id"], workflow)
            result.count("closed")
        elif workflow.raw_description.pending_workflow_task.attempt >= STUCK_ATTEMPTS:
            await nudge(run, self.signals, self.ended)
            result.count("stuck")
        elif self._is_asleep(run):
            await nudge(run, self.signals, self.ended)
            result.count("nudged")

    def _is_asleep(self, run: Mapping[str, Any]) -> bool:
        """Whether an open workflow has not taken the step that is due by its row."""
        due = run["next_due_at"]
        return not run["state"] or (run["clock"] is None and due is not None and due < current_instant() - self.late)


async def nudge(run: Mapping[str, Any], signals: WorkflowSignals, ended: EndedRuns) -> None:
    """Signal-with-start: a workflow that runs checks its deadlines, a new one resumes from the run's row. Raises RPCError.

    The row of a workflow that has ended is closed.
    """
    subject = "account" if run["subject_key"].startswith("a_") else "user"
    try:
        await signals.start_run({**run, "resumes": True}, subject, wire.SIGNAL_NUDGE, ())
    except RunHasEnded:
        await ended.close(run["id"])


class PageFailures:
    """Failures of one page. One run's failures stop no other; an outage of Temporal does."""

    def __init__(self, signals: WorkflowSignals) -> None:
        self._signals, self._count = signals, 0
        self.outage: Exception | None = None
        """The error with which an outage was noticed."""

    async def add(self, error: Exception) -> None:
        """Count a failure; after more than MAX_FAILURES ask whether Temporal answers, and count again if it does."""
        self._count += 1
        if self._count > MAX_FAILURES:
            self._count = 0
            if not await self._signals.is_reachable():
                self.outage = error
