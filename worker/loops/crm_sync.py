"""Tasks shown in a CRM and closed from either side: what changed here is pushed, what was closed there is asked for.

One process at a time does it, whoever has the lock; should two, no harm is done: a copy is in one's hand under a lease, and
closing is idempotent. Nothing waits for a CRM: a task is opened, changed and closed here whether it answers or not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import structlog
from prometheus_client import Counter, Gauge

from activities.channels.message_hash import message_hash
from activities.exports.crm.port import MOST, CrmPaused, CrmTask, CrmTaskClosed, CrmTasks
from journeys.tasks.assignment import Roster
from store.database import Connection, Database
from store.events.changes import close_task
from store.exports import crm_tasks
from store.locks import Lock, check_lock_held, release_lock, take_lock
from store.reads import people as queries
from store.reads.tasks import get_task
from store.tasks import log as task_log
from store.tasks import tasks
from worker.loops.loop import sleep_or_stop

log = structlog.get_logger()

EVERY: Final = 5.0
"""Seconds between two looks at what has changed here: one query that mostly finds nothing."""
CALL_SECONDS: Final = 30.0
GRACE: Final = 5.0
"""Seconds that a call in hand may still take when the process is told to stop."""
DONE: Final = "closed_in_crm"
"""The outcome of a task that was closed there without a word, where any word may close it."""

MIRRORED = Counter("tenure_task_mirror_total", "Copies of tasks in CRMs", ["mirror", "what"])
STALE = Gauge("tenure_task_mirror_stale", "Tasks whose copy in a CRM is not what they are", ["mirror"])
LAG = Gauge(
    "tenure_task_mirror_lag_seconds", "For how long the CRM has not been asked what was closed there", ["mirror"]
)


class CrmSync:
    """One of any number of processes, over all CRMs that are connected. Without one it has nothing to do and ends at once.

    `reads` is how often a CRM is asked what was closed there: one call for every hundred open tasks, and calls are counted there.
    """

    def __init__(
        self,
        database: Database,
        roster: Roster,
        mirrors: Sequence[CrmTasks],
        reads: timedelta = timedelta(minutes=1),
    ) -> None:
        self.database, self.roster, self.mirrors, self.reads = database, roster, mirrors, reads

    # -- one process at a time -------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event, every: float = EVERY) -> None:
        """Until told to stop: wait for the lock, then pass after pass, each CRM by itself; one's outage is not another's."""
        while self.mirrors and not stop.is_set():
            try:
                async with self._alone() as connection:
                    if connection is not None:
                        await self._lead(connection, stop, every)
            except Exception as fault:  # noqa: BLE001 -- whatever is down comes back
                log.warning("mirror.lost_its_lock", error=type(fault).__name__)
            await sleep_or_stop(stop, every)

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[Connection | None]:
        """The connection that holds the lock, or None if another process has it."""
        async with self.database.reading() as connection:
            taken = await take_lock(connection, Lock.MIRRORS)
            try:
                yield connection if taken else None
            finally:
                if taken:
                    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                        await release_lock(connection, Lock.MIRRORS)

    async def _lead(self, connection: Connection, stop: asyncio.Event, every: float) -> None:
        """Work while the lock's connection lives; raises what it dies of, when every loop has ended its pass."""
        over = asyncio.Event()
        loops = [asyncio.create_task(self._keep(mirror, over, every)) for mirror in self.mirrors]
        try:
            while not stop.is_set():
                await check_lock_held(connection)
                await sleep_or_stop(stop, every)
        finally:
            over.set()
            # Who is cut here is as one that has died: the copy in hand is tried again when its lease is over.
            _, slow = await asyncio.wait(loops, timeout=GRACE)
            for loop in slow:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def _keep(self, mirror: CrmTasks, over: asyncio.Event, every: float) -> None:
        read_at: datetime | None = None
        began = datetime.now(UTC)
        while not over.is_set():
            now = datetime.now(UTC)
            due = read_at is None or now - read_at >= self.reads
            if due and await self._tried(mirror, self._pull(mirror)):
                read_at = now
            await self._tried(mirror, self._push_all(mirror, over))
            LAG.labels(mirror.name).set((datetime.now(UTC) - (read_at or began)).total_seconds())
            await sleep_or_stop(over, every)

    async def _tried(self, mirror: CrmTasks, part: Awaitable[bool]) -> bool:
        """Reading and writing are apart: a CRM that cannot do one may do the other."""
        try:
            return await part
        except Exception as fault:  # noqa: BLE001 -- whatever is down comes back
            log.warning("mirror.cut", mirror=mirror.name, error=type(fault).__name__)
            return False

    async def sync(self, mirror: CrmTasks) -> None:
        """One pass. What was closed there first: then it is not pushed as open again."""
        try:
            await self._pull(mirror)
        finally:
            await self._push_all(mirror, asyncio.Event())

    # -- from there ------------------------------------------------------------------------------------------------

    async def _pull(self, mirror: CrmTasks) -> bool:
        """Whether it answered. Raises what it did instead."""
        after = 0
        while True:
            async with self.database.reading() as connection:
                found = await crm_tasks.shown_open(connection, mirror.name, after, MOST)
            if not found:
                return True
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    ended = await mirror.ended([item["reference"] for item in found])
            except CrmPaused:
                return False
            for item in found:
                if item["reference"] in ended:
                    await self._close(mirror.name, item["task_id"], ended[item["reference"]])
            after = found[-1]["task_id"]

    async def _close(self, mirror: str, task: int, ended: CrmTaskClosed) -> None:
        """By the same way as over the API, so that its runs hear it. A word that is not declared opens it there again."""
        try:
            await close_task(
                self.database,
                task,
                resolution=ended.outcome or DONE,
                by=mirror,
                note="",
                roster=self.roster,
                now=datetime.now(UTC),
            )
            MIRRORED.labels(mirror, "closed_there").inc()
        except tasks.TaskNotOpen:
            return
        except tasks.OutcomeNotDeclared as fault:
            MIRRORED.labels(mirror, "refused").inc()
            log.warning("mirror.outcome_not_declared", mirror=mirror, task_id=task)
            async with self.database.transaction() as connection:
                said = f"closed there as {ended.outcome or 'nothing'}, but {fault}: it is open again"
                await task_log.write_task_log(connection, task, datetime.now(UTC), "noted", mirror, said)
                await crm_tasks.reopen_crm_task(connection, mirror, task)

    # -- to there --------------------------------------------------------------------------------------------------

    async def _push_all(self, mirror: CrmTasks, over: asyncio.Event) -> bool:
        while not over.is_set() and await self._push(mirror):
            pass
        async with self.database.reading() as connection:
            STALE.labels(mirror.name).set(await crm_tasks.count_stale(connection, mirror.name))
        return True

    async def _push(self, mirror: CrmTasks) -> bool:
        """Whether there was a stale copy, and the CRM was asked."""
        async with self.database.transaction() as connection:
            stale = await crm_tasks.claim_stale_task(connection, mirror.name)
            if stale is None:
                return False
            task = await get_task(connection, stale.task, datetime.now(UTC))
            assert task is not None, "tasks are never deleted"
            account = await queries.account_id(connection, task["account"])
        try:
            async with asyncio.timeout(CALL_SECONDS):
                reference = await mirror.push(self._shown(mirror.name, task, account, stale), stale.reference)
        except CrmPaused:
            async with self.database.transaction() as connection:
                await crm_tasks.put_back(connection, mirror.name, stale)
            return False
        except Exception as fault:  # noqa: BLE001 -- one task's trouble is not its neighbours'
            log.warning("mirror.not_pushed", mirror=mirror.name, task_id=stale.task, error=type(fault).__name__)
            MIRRORED.labels(mirror.name, "failed").inc()
            async with self.database.transaction() as connection:
                await crm_tasks.postpone(connection, mirror.name, stale, f"{type(fault).__name__}: {fault}")
            return True
        async with self.database.transaction() as connection:
            await crm_tasks.mark_pushed(connection, mirror.name, stale, reference)
        MIRRORED.labels(mirror.name, "pushed").inc()
        return True

    def _shown(self, mirror: str, task: Mapping[str, Any], account: str | None, stale: crm_tasks.StaleTask) -> CrmTask:
        person = self.roster.team.people.get(task["owner"])
        there = [name.removeprefix(f"{mirror}:") for name in person.known_as if name.startswith(f"{mirror}:")] if person else []  # fmt: skip
        return CrmTask(
            key=message_hash(task["key"]),
            number=task["id"],
            task=task["task"],
            journey=task["journey"],
            about=account or task["subject"],
            owner=task["owner"],
            owner_id=there[0] if there else None,
            why=task["why"],
            due_at=task["due_at"],
            opened_at=task["opened_at"],
            open=task["status"] == "open",
            settles=task["status"] != "open" or stale.reference is None or stale.reopens,
            outcome=task["resolution"],
            overdue=task["overdue"],
            data=task["data"],
        )
