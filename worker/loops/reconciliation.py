"""Once an hour every open run that may sleep too long is compared with its workflow, and whoever lacks something gets it.

A run can miss its timer, or its life, only by something outside these rooms: a Temporal database restored from
yesterday, a workflow terminated by hand, a namespace whose retention took it. The row in Postgres knows better, and
says what to do. Runs past their due date are all met in each sweep; those that no due date would betray (they wait for
signals only, are paused, live on a test clock, or never began) as many as a sweep's time allows, the next ones next time. Whoever is owed
a message that should have been decided long ago is woken too: what starts their outreach may be lost like any workflow.
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
from worker.relay.relay import OutboxRelay

log = structlog.get_logger()

EVERY: Final = 3_600.0
AGAIN: Final = 60.0
"""Seconds after which a sweep that was cut is begun anew."""
LATE: Final = timedelta(minutes=45)
"""A deadline past by less may still be on its way: anchors ring up to half an hour late."""
BEGUN: Final = timedelta(hours=1)
"""A run admitted longer ago should have made its first step."""
PAGE: Final = 500
AT_ONCE: Final = 8
QUIET_SECONDS: Final = 600.0
"""What a sweep gives to runs without a due date: several hundred a second are looked at."""
STUCK_ATTEMPTS: Final = 3
MOST_FAILURES: Final = 3
"""Pages may not fail as a whole more often than this; then Temporal is down, and the sweep is cut."""

RECONCILED = Counter("tenure_reconciled_total", "Runs and people that the reconciler met past their due date", ["what"])


@dataclass(slots=True)
class SweepResult:
    """What one sweep found: `late` runs past their due date or never begun, and what became of each that was met.

    `nudged` are open and only slept, `revived` had no workflow and continue from their row, `closed` had ended in
    Temporal only, `stuck` fail their workflow task again and again: a bug that waits for a deploy. `failed` could not be
    helped now; the next sweep meets them again. `woken` are people to whom something was owed for too long.
    """

    late: int = 0
    nudged: int = 0
    revived: int = 0
    closed: int = 0
    stuck: int = 0
    failed: int = 0
    woken: int = 0

    def count(self, what: str) -> None:
        setattr(self, what, getattr(self, what) + 1)
        RECONCILED.labels(what).inc()


class Reconciler:
    """One of any number; a lock in the store lets one sweep at a time."""

    def __init__(self, database: Database, client: Client, relay: OutboxRelay, *, late: timedelta = LATE) -> None:
        self.database, self.client, self.relay, self.late = database, client, relay, late
        self.begun = min(late, BEGUN)
        self.past = ""
        """The last run without a due date that was looked at."""
        self.stop = asyncio.Event()

    async def run(self, stop: asyncio.Event, every: float = EVERY, again: float = AGAIN) -> None:
        """Sweep now and then every hour, until told to stop; soon again when a sweep was cut."""
        self.stop = stop
        while not stop.is_set():
            pause = every
            try:
                await self.sweep()
            except Exception as fault:  # noqa: BLE001 -- whatever is down comes back
                log.warning("reconcile.cut", error=type(fault).__name__)
                pause = min(every, again)
            await sleep_or_stop(stop, pause)

    async def sweep(self) -> SweepResult | None:
        """Meet every run that is late, and the next of the quiet ones; None when another process does."""
        found = SweepResult()
        async with session_lock(self.database, Lock.SWEEP) as lock:
            if lock is None:
                return None
            await self._overdue(found)
            await self._owed(found)
            await self._quiet(found)
        if found != SweepResult():
            log.warning("reconcile.swept", **{name: getattr(found, name) for name in SweepResult.__slots__})
        return found

    async def _overdue(self, found: SweepResult) -> None:
        past = (reconciliation.BEGINNING, "")
        while not self.stop.is_set():
            async with self.database.reading() as connection:
                page = await reconciliation.overdue_runs(connection, self.late, past, PAGE)
            found.late += len(page)
            await self._meet(page, found)
            if len(page) < PAGE:
                return
            past = (page[-1]["next_due_at"], page[-1]["id"])

    async def _owed(self, found: SweepResult) -> None:
        """An outreach that lives looks once more and changes nothing; one that is lost is started."""
        past = ""
        while not self.stop.is_set():
            async with self.database.transaction() as connection:
                page = await reconciliation.people_with_forgotten_messages(connection, self.late, past, PAGE)
                for person in page:
                    await outbox.wake_outreach(connection, person)
            for _ in page:
                found.count("woken")
            if len(page) < PAGE:
                return
            past = page[-1]

    async def _quiet(self, found: SweepResult) -> None:
        """Go on where the last sweep ended, once around at most, as long as the time allows."""
        until = asyncio.get_running_loop().time() + QUIET_SECONDS
        began, around = self.past, False
        while not self.stop.is_set() and asyncio.get_running_loop().time() < until:
            async with self.database.reading() as connection:
                page = await reconciliation.runs_without_due_date(connection, self.begun, self.past, PAGE)
            if around:
                page = [run for run in page if run["id"] <= began]
            await self._meet(page, found)
            full = len(page) == PAGE
            self.past = page[-1]["id"] if full else ""
            if not full:
                if around or not began:
                    return
                around = True

    async def _meet(self, page: list[Mapping[str, Any]], found: SweepResult) -> None:
        """A few at a time. Raises what the last one met when nearly nobody could be helped."""
        gate, faults = asyncio.Semaphore(AT_ONCE), list[Exception]()

        async def meet(run: Mapping[str, Any]) -> None:
            async with gate:
                if self.stop.is_set() or len(faults) > MOST_FAILURES:
                    return
                try:
                    await self._help(run, found)
                except Exception as fault:  # noqa: BLE001 -- one run's trouble is not its neighbours'
                    log.warning("reconcile.failed", run=run["id"], error=type(fault).__name__)
                    found.count("failed")
                    faults.append(fault)

        await asyncio.gather(*(meet(run) for run in page))
        if len(faults) > MOST_FAILURES:
            raise faults[-1]

    async def _help(self, run: Mapping[str, Any], found: SweepResult) -> None:
        seen = await self._described(run["id"])
        if seen is None:
            await self._nudge(run)
            found.count("revived")
        elif seen.status is not WorkflowExecutionStatus.RUNNING:
            await self._close(run["id"], seen)
            found.count("closed")
        elif seen.raw_description.pending_workflow_task.attempt >= STUCK_ATTEMPTS:
            await self._nudge(run)
            found.count("stuck")
        elif self._sleeps(run):
            await self._nudge(run)
            found.count("nudged")

    def _sleeps(self, run: Mapping[str, Any]) -> bool:
        """Whether an open workflow has not done what its row says it should have done by now."""
        due = run["next_due_at"]
        return not run["state"] or (run["clock"] is None and due is not None and due < datetime.now(UTC) - self.late)

    async def _described(self, run: str) -> WorkflowExecutionDescription | None:
        try:
            return await self.client.get_workflow_handle(run).describe()
        except RPCError as fault:
            if fault.status is RPCStatusCode.NOT_FOUND:
                return None
            raise

    async def _nudge(self, run: Mapping[str, Any]) -> None:
        """Signal-with-start: one that runs looks at its deadlines, one that is gone asks the store what stands."""
        subject = "account" if run["subject_key"].startswith("a_") else "user"
        async with self.database.reading() as connection:
            await self.relay.learn_clocks(connection, {run["clock"]})
        await self.relay.start_run({**run, "resumes": True}, subject, wire.SIGNAL_NUDGE, ())

    async def _close(self, run: str, seen: WorkflowExecutionDescription) -> None:
        """It has ended in Temporal and its row does not know: by hand, or its last step was never told."""
        outcome = (seen.status.name if seen.status else "lost").lower()
        if seen.status is WorkflowExecutionStatus.COMPLETED:
            outcome = await self.client.get_workflow_handle(run, result_type=str).result()
        async with self.database.transaction() as connection:
            await reconciliation.close_run(connection, run, outcome, seen.close_time or datetime.now(UTC))
