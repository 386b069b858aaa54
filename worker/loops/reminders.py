"""Loop that reminds owners of tasks before the deadline.

Any number of processes may run it; each reminder is claimed by one. A crash between sending and commit may send a reminder
twice, and never loses one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import structlog
from prometheus_client import Counter, Gauge

from store.database import Database
from store.process_clock import current_instant
from store.reads.task_context import read_task_context
from store.tasks import reminders
from worker.loops.loop import run_periodically

log = structlog.get_logger()

POLL_SECONDS: Final = 15.0
SEND_SECONDS: Final = 35.0
"""Limit for one reminder; the longest attempt at a mail takes 30 s."""
RETRY_AFTER: Final = timedelta(minutes=5)
"""Wait after a reminder that could not be sent."""

REMINDED = Counter("tenure_task_reminders_total", "Reminders of tasks by result", ["what"])
OPEN = Gauge("tenure_tasks_open", "Open tasks by team, or by owner where there is none", ["team"])
OVERDUE = Gauge("tenure_tasks_overdue", "Open tasks past their deadline", ["team"])


@dataclass(frozen=True, slots=True)
class Reminder:
    """A task that is due soon. `subject` and `account` are internal keys; `context` names the customer."""

    task_id: int
    task: str
    journey: str
    owner: str
    team: str | None
    due_at: datetime
    subject: str
    account: str | None
    reason: str
    context: Mapping[str, Any]


ReminderSender = Callable[[Reminder], Awaitable[str | None]]
"""Sends one reminder: None once it is sent, or the reason why this owner can never be reached, for the task's log.

Raises when it could not be sent now.
"""


class ReminderResult(StrEnum):
    """Results of a reminder: sent, no address to send it to, or to be tried again."""

    SENT = "told"
    UNREACHABLE = "unreachable"
    FAILED = "failed"


class Reminders:
    """One of any number of processes that send reminders."""

    def __init__(self, database: Database, send: ReminderSender) -> None:
        self.database, self.send = database, send

    async def run(self, stop: asyncio.Event, every: float = POLL_SECONDS) -> None:
        """Send due reminders every few seconds until `stop` is set."""

        async def poll() -> bool:
            await self.sweep()
            return False  # a sweep sends everything that is due

        await run_periodically("reminders", poll, stop, every)

    async def sweep(self) -> int:
        """Send every reminder that is due by the real clock; returns how many were sent."""
        async with self.database.reading() as connection:
            for item in await reminders.count_tasks(connection):
                OPEN.labels(item["team"]).set(item["open"])
                OVERDUE.labels(item["team"]).set(item["overdue"])
        sent, now = 0, current_instant()
        while (result := await self.send_next(now)) is not None:
            sent += result is ReminderResult.SENT
        return sent

    async def send_next(
        self, now: datetime, *, clock: str | None = None, scopes: Sequence[str] | None = None
    ) -> ReminderResult | None:
        """Send the next reminder of a clock, whose instant is `now`; None when none is due.

        `scopes` are the accounts and people whose tasks count; without them all do. On a test clock a failed reminder
        stays due: the clock waits.
        """
        async with self.database.transaction() as connection:
            task = await reminders.next_reminder(connection, clock, now, scopes)
            if task is None:
                return None
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    context = await read_task_context(connection, task)
                    unreachable = await self.send(_reminder(task, context))
            except Exception as error:  # noqa: BLE001 — one owner's failure must not stop the others
                log.warning("reminders.not_told", task_id=task["id"], error=type(error).__name__)
                REMINDED.labels(ReminderResult.FAILED).inc()
                if clock is None:
                    await reminders.postpone_reminder(connection, task, RETRY_AFTER, now)
                return ReminderResult.FAILED
            if unreachable is None:
                await reminders.mark_reminded(connection, task, now)
            else:
                await reminders.mark_unreachable(connection, task, unreachable, now)
        result = ReminderResult.SENT if unreachable is None else ReminderResult.UNREACHABLE
        REMINDED.labels(result).inc()
        return result


def _reminder(task: Mapping[str, Any], context: Mapping[str, Any]) -> Reminder:
    names = ("task", "journey", "owner", "team", "due_at", "subject", "account", "reason")
    return Reminder(task_id=task["id"], context=context, **{name: task[name] for name in names})
