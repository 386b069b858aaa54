"""Loop that copies tasks to CRMs and closes here what was closed there.

One process at a time runs it, the one that holds the lock. Two would do no harm: a copy is pushed under a lease, and closing is
idempotent. No task waits for a CRM: it is opened, changed and closed here whether the CRM answers or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from prometheus_client import Counter, Gauge

from activities.channels.message_hash import message_hash
from activities.exports.crm.port import MOST, CrmPaused, CrmTask, CrmTaskClosed, CrmTasks
from journeys.tasks.assignment import Roster
from store.availability import log_outage
from store.database import Connection, Database
from store.errors import ClockAdvancing
from store.events.changes import close_task
from store.exports import crm_tasks
from store.locks import Lock, check_lock_held, session_lock
from store.process_clock import current_instant
from store.reads import people as queries
from store.reads.tasks import get_task
from store.tasks import log as task_log
from store.tasks import tasks
from worker.loops.loop import sleep_or_stop

log = structlog.get_logger()

POLL_SECONDS: Final = 5.0
"""Pause between two searches for tasks that changed here: one query, mostly without a result."""
CALL_SECONDS: Final = 30.0
GRACE_SECONDS: Final = 5.0
"""Time that a call in flight may still take when the process stops."""
DONE: Final = "closed_in_crm"
"""Outcome of a task that was closed in a CRM without one, where any outcome is allowed."""

MIRRORED = Counter("tenure_task_mirror_total", "Copies of tasks in CRMs by result", ["mirror", "what"])
STALE = Gauge("tenure_task_mirror_stale", "Tasks whose copy in a CRM is out of date", ["mirror"])
LAG = Gauge("tenure_task_mirror_lag_seconds", "Time since tasks that were closed in the CRM were last read", ["mirror"])


class CrmSync:
    """Copies tasks to every configured CRM; ends at once if there is none.

    A CRM is asked for closed tasks every `reads`. That takes one call for every hundred open tasks, and CRMs limit calls.
    """

    def __init__(
        self,
        database: Database,
        roster: Roster,
        crms: Sequence[CrmTasks],
        reads: timedelta = timedelta(minutes=1),
    ) -> None:
        self.database, self.roster, self.crms, self.reads = database, roster, crms, reads

    # -- one process at a time -------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event, every: float = POLL_SECONDS) -> None:
        """Wait for the lock, then sync until `stop` is set, each CRM by itself, so that one outage affects no other CRM."""
        while self.crms and not stop.is_set():
            try:
                async with session_lock(self.database, Lock.MIRRORS) as connection:
                    if connection is not None:
                        await self._lead(connection, stop, every)
            except Exception as error:  # noqa: BLE001 — an outage ends; the loop goes on
                log_outage("mirror.lost_its_lock", error)
            await sleep_or_stop(stop, every)

    async def _lead(self, connection: Connection, stop: asyncio.Event, every: float) -> None:
        """Sync while the lock's connection lives. Raises the connection's error once every CRM's loop has ended."""
        over = asyncio.Event()
        loops = [asyncio.create_task(self._sync_repeatedly(crm, over, every)) for crm in self.crms]
        try:
            while not stop.is_set():
                await check_lock_held(connection)
                await sleep_or_stop(stop, every)
        finally:
            over.set()
            # A loop cancelled here leaves a lease behind; its copy is pushed again once the lease has expired.
            _, slow = await asyncio.wait(loops, timeout=GRACE_SECONDS)
            for loop in slow:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def _sync_repeatedly(self, crm: CrmTasks, over: asyncio.Event, every: float) -> None:
        read_at: datetime | None = None
        began = current_instant()
        while not over.is_set():
            now = current_instant()
            due = read_at is None or now - read_at >= self.reads
            if due and await self._attempted(crm, self._pull(crm)):
                read_at = now
            await self._attempted(crm, self._push_all(crm, over))
            LAG.labels(crm.name).set((current_instant() - (read_at or began)).total_seconds())
            await sleep_or_stop(over, every)

    async def _attempted(self, crm: CrmTasks, transfer: Awaitable[bool]) -> bool:
        """The result of pulling or pushing; False if it failed. A CRM that fails at one may succeed at the other."""
        try:
            return await transfer
        except Exception as error:  # noqa: BLE001 — an outage ends; the loop goes on
            log.warning("mirror.cut", mirror=crm.name, error=type(error).__name__)
            return False

    async def sync(self, crm: CrmTasks) -> None:
        """One pass. Closed tasks are pulled first, so that none is pushed as open again."""
        try:
            await self._pull(crm)
        finally:
            await self._push_all(crm, asyncio.Event())

    # -- from the CRM ------------------------------------------------------------------------------------------------

    async def _pull(self, crm: CrmTasks) -> bool:
        """Close here what was closed in the CRM. False while the CRM is paused; raises its other errors."""
        after = 0
        while True:
            async with self.database.reading() as connection:
                copies = await crm_tasks.shown_open(connection, crm.name, after, MOST)
            if not copies:
                return True
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    ended = await crm.ended([copy["reference"] for copy in copies])
            except CrmPaused:
                return False
            for copy in copies:
                if copy["reference"] in ended:
                    await self._close(crm.name, copy["task_id"], ended[copy["reference"]])
            after = copies[-1]["task_id"]

    async def _close(self, crm: str, task: int, ended: CrmTaskClosed) -> None:
        """Close the task as the API does, so that its runs receive the signal; reopen the copy for an undeclared outcome."""
        try:
            await close_task(
                self.database,
                task,
                resolution=ended.outcome or DONE,
                by=crm,
                note="",
                roster=self.roster,
                now=current_instant(),
            )
            MIRRORED.labels(crm, "closed_there").inc()
        except (tasks.TaskNotOpen, ClockAdvancing):
            return  # of a test clock that advances: closed at the next look
        except tasks.OutcomeNotDeclared as error:
            MIRRORED.labels(crm, "refused").inc()
            log.warning("mirror.outcome_not_declared", mirror=crm, task_id=task)
            async with self.database.transaction() as connection:
                text = f"closed there as {ended.outcome or 'nothing'}, but {error}: it is open again"
                await task_log.write_task_log(connection, task, current_instant(), "noted", crm, text)
                await crm_tasks.reopen_crm_task(connection, crm, task)

    # -- to the CRM --------------------------------------------------------------------------------------------------

    async def _push_all(self, crm: CrmTasks, over: asyncio.Event) -> bool:
        while not over.is_set() and await self._push(crm):
            pass
        async with self.database.reading() as connection:
            STALE.labels(crm.name).set(await crm_tasks.count_stale(connection, crm.name))
        return True

    async def _push(self, crm: CrmTasks) -> bool:
        """Push one copy that is out of date. False if there was none, or the CRM is paused."""
        async with self.database.transaction() as connection:
            stale = await crm_tasks.claim_stale_task(connection, crm.name)
            if stale is None:
                return False
            task = await get_task(connection, stale.task, current_instant())
            assert task is not None, "tasks are never deleted"
            account = await queries.account_id(connection, task["account"])
        try:
            async with asyncio.timeout(CALL_SECONDS):
                reference = await crm.push(self._crm_task(crm.name, task, account, stale), stale.reference)
        except CrmPaused:
            async with self.database.transaction() as connection:
                await crm_tasks.put_back(connection, crm.name, stale)
            return False
        except Exception as error:  # noqa: BLE001 — one task's failure must not stop the others
            log.warning("mirror.not_pushed", mirror=crm.name, task_id=stale.task, error=type(error).__name__)
            MIRRORED.labels(crm.name, "failed").inc()
            async with self.database.transaction() as connection:
                await crm_tasks.postpone(connection, crm.name, stale, f"{type(error).__name__}: {error}")
            return True
        async with self.database.transaction() as connection:
            await crm_tasks.mark_pushed(connection, crm.name, stale, reference)
        MIRRORED.labels(crm.name, "pushed").inc()
        return True

    def _crm_task(self, crm: str, task: Mapping[str, Any], account: str | None, stale: crm_tasks.StaleTask) -> CrmTask:
        person = self.roster.team.people.get(task["owner"])
        prefix = f"{crm}:"
        ids = [name.removeprefix(prefix) for name in person.known_as if name.startswith(prefix)] if person else []
        return CrmTask(
            key=message_hash(task["key"]),
            number=task["id"],
            task=task["task"],
            journey=task["journey"],
            about=account or task["subject"],
            owner=task["owner"],
            owner_id=ids[0] if ids else None,
            why=task["why"],
            due_at=task["due_at"],
            opened_at=task["opened_at"],
            open=task["status"] == "open",
            settles=task["status"] != "open" or stale.reference is None or stale.reopens,
            outcome=task["resolution"],
            overdue=task["overdue"],
            data=task["data"],
        )
