"""A task's owner is reminded before it is due: a due column that any number of processes look at, one telling each.

Nothing is kept in memory: what was not told when a process died is told by the next one that looks. So a reminder may be
told twice by a crash between telling and the commit, and is never lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from prometheus_client import Counter, Gauge

from store.database import Database
from store.tasks import reminders
from worker.loops.loop import run_periodically

log = structlog.get_logger()

EVERY: Final = 15.0
TELL_SECONDS: Final = 35.0
"""More than the longest attempt at a mail takes (30 s)."""
AGAIN: Final = timedelta(minutes=5)
"""Who could not be told is tried again after this."""

REMINDED = Counter("tenure_task_reminders_total", "Reminders of tasks", ["what"])
OPEN = Gauge("tenure_tasks_open", "Open tasks by team, or by owner where there is none", ["team"])
OVERDUE = Gauge("tenure_tasks_overdue", "Open tasks that are past their deadline", ["team"])


@dataclass(frozen=True, slots=True)
class Reminder:
    """What an owner is told: which task is due when. Subjects are our random keys, never a name."""

    task_id: int
    task: str
    journey: str
    owner: str
    team: str | None
    due_at: datetime
    subject: str
    account: str | None


ReminderSender = Callable[[Reminder], Awaitable[str | None]]
"""How owners are reached: None once one was told, or why they cannot be told at all, which the task's log says instead.

Raises when one could not be told now; then it is tried again later.
"""


class Reminders:
    """One of any number."""

    def __init__(self, database: Database, tell: ReminderSender) -> None:
        self.database, self.tell = database, tell

    async def run(self, stop: asyncio.Event, every: float = EVERY) -> None:
        """Look every few seconds until told to stop."""

        async def look() -> bool:
            await self.sweep()
            return False  # it has told all that was due

        await run_periodically("reminders", look, stop, every)

    async def sweep(self) -> int:
        """Tell all that is due by its own clock; how many were told."""
        async with self.database.reading() as connection:
            clocks = await reminders.clocks(connection)
            for item in await reminders.count_tasks(connection):
                OPEN.labels(item["team"]).set(item["open"])
                OVERDUE.labels(item["team"]).set(item["overdue"])
        told = 0
        for clock, now in clocks:
            while (done := await self._next(clock, now)) is not None:
                told += done
        return told

    async def _next(self, clock: str | None, now: datetime) -> bool | None:
        """Whether the next one could be told; None when none is due."""
        async with self.database.transaction() as connection:
            task = await reminders.next_reminder(connection, clock, now)
            if task is None:
                return None
            try:
                async with asyncio.timeout(TELL_SECONDS):
                    why_not = await self.tell(_of(task))
            except Exception as fault:  # noqa: BLE001 -- one owner's channel is not the others'
                log.warning("reminders.not_told", task_id=task["id"], error=type(fault).__name__)
                REMINDED.labels("failed").inc()
                await reminders.postpone_reminder(connection, task, AGAIN, now)
                return False
            if why_not is None:
                await reminders.mark_reminded(connection, task, now)
            else:
                await reminders.mark_unreachable(connection, task, why_not, now)
        REMINDED.labels("told" if why_not is None else "unreachable").inc()
        return why_not is None


def _of(task: Any) -> Reminder:
    names = ("id", "task", "journey", "owner", "team", "due_at", "subject", "account")
    return Reminder(*(task[name] for name in names))
