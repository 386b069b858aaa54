"""Tasks shown in a CRM and closed from either side: what changed here is pushed, what was closed there is asked for.

Each pass does both, for any number of processes: a copy is in one's hand under a lease, and closing is idempotent. Nothing
waits for a CRM: a task is opened, changed and closed here whether it answers or not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from prometheus_client import Counter

from activities.mirrors.port import MOST, Ended, Shown, TaskMirror
from journeys.assigning import Roster
from store import mirroring, queries, task_log, tasks
from store.database import Database

log = structlog.get_logger()

EVERY: Final = 20.0
CALL_SECONDS: Final = 20.0
DONE: Final = "closed_in_crm"
"""The outcome of a task that was closed there without a word, where any word may close it."""

MIRRORED = Counter("tenure_task_mirror_total", "Copies of tasks in CRMs", ["mirror", "what"])


class Mirrors:
    """One of any number of processes, over all CRMs that are connected."""

    def __init__(self, database: Database, roster: Roster, mirrors: Sequence[TaskMirror]) -> None:
        self.database, self.roster, self.mirrors = database, roster, mirrors

    async def run(self, stop: asyncio.Event, every: float = EVERY) -> None:
        """Pass after pass until told to stop; one CRM's outage is not another's."""
        while not stop.is_set():
            for mirror in self.mirrors:
                try:
                    await self.sync(mirror)
                except Exception as fault:  # noqa: BLE001 -- whatever is down comes back
                    log.warning("mirror.cut", mirror=mirror.name, error=type(fault).__name__)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), every)

    async def sync(self, mirror: TaskMirror) -> None:
        """What was closed there first: then it is not pushed as open again."""
        try:
            await self._pull(mirror)
        finally:
            while await self._push(mirror):
                pass

    # -- from there ------------------------------------------------------------------------------------------------

    async def _pull(self, mirror: TaskMirror) -> None:
        after = 0
        while True:
            async with self.database.reading() as connection:
                found = await mirroring.shown_open(connection, mirror.name, after, MOST)
            if not found:
                return
            async with asyncio.timeout(CALL_SECONDS):
                ended = await mirror.ended([item["reference"] for item in found])
            for item in found:
                if item["reference"] in ended:
                    await self._close(mirror.name, item["task_id"], ended[item["reference"]])
            after = found[-1]["task_id"]

    async def _close(self, mirror: str, task: int, ended: Ended) -> None:
        """By the same way as over the API, so that its runs hear it. A word that is not declared opens it there again."""
        try:
            await tasks.close_task(
                self.database,
                task,
                resolution=ended.outcome or DONE,
                by=mirror,
                note="",
                roster=self.roster,
                now=datetime.now(UTC),
            )
            MIRRORED.labels(mirror, "closed_there").inc()
        except tasks.NotOpen:
            return
        except tasks.Undeclared as fault:
            MIRRORED.labels(mirror, "refused").inc()
            log.warning("mirror.outcome_not_declared", mirror=mirror, task_id=task)
            async with self.database.transaction() as connection:
                said = f"closed there as {ended.outcome or 'nothing'}, but {fault}: it is open again"
                await task_log.write(connection, task, datetime.now(UTC), "noted", mirror, said)
                await mirroring.reopen(connection, mirror, task)

    # -- to there --------------------------------------------------------------------------------------------------

    async def _push(self, mirror: TaskMirror) -> bool:
        """Whether there was a stale copy."""
        async with self.database.transaction() as connection:
            stale = await mirroring.claim(connection, mirror.name)
            if stale is None:
                return False
            task = await tasks.get_task(connection, stale.task, datetime.now(UTC))
            assert task is not None, "tasks are never deleted"
            account = await queries.account_id(connection, task["account"])
        try:
            async with asyncio.timeout(CALL_SECONDS):
                reference = await mirror.push(self._shown(mirror.name, task, account, stale), stale.reference)
        except Exception as fault:  # noqa: BLE001 -- one task's trouble is not its neighbours'
            log.warning("mirror.not_pushed", mirror=mirror.name, task_id=stale.task, error=type(fault).__name__)
            MIRRORED.labels(mirror.name, "failed").inc()
            async with self.database.transaction() as connection:
                await mirroring.failed(connection, mirror.name, stale, f"{type(fault).__name__}: {fault}")
            return True
        async with self.database.transaction() as connection:
            await mirroring.pushed(connection, mirror.name, stale, reference)
        MIRRORED.labels(mirror.name, "pushed").inc()
        return True

    def _shown(self, mirror: str, task: Mapping[str, Any], account: str | None, stale: mirroring.Stale) -> Shown:
        person = self.roster.team.people.get(task["owner"])
        there = [name.removeprefix(f"{mirror}:") for name in person.known_as if name.startswith(f"{mirror}:")] if person else []  # fmt: skip
        return Shown(
            key=task["key"],
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
