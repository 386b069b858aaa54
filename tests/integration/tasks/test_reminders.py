"""Reminders of tasks: one before the deadline, from whichever process sweeps first (C10)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from store.database import Database, fetch_all, fetch_one, sql
from worker.loops.reminders import Reminder, ReminderResult, Reminders

NOW = datetime.now(UTC)
_INSERT = sql(
    """
    INSERT INTO tasks (key, run, subject_key, journey, action, task, owner, opened_at, due_at, remind_at, clock, status, scope_key, reason)
    VALUES (:key, 'r', 'u_1', 'j', 'call', 'call', 'dana', :at, :due, :remind, :clock, :status, 'u_1', :key) RETURNING id
    """
)


class ReminderRecorder:
    """Records the tasks reminded of; the first `failures` calls raise ConnectionError."""

    def __init__(self, failures: int = 0) -> None:
        self.ids: list[int] = []
        self.failures = failures

    async def __call__(self, reminder: Reminder) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError
        self.ids.append(reminder.task_id)


async def insert_task(
    database: Database, key: str, remind: datetime | None, clock: str | None = None, status: str = "open"
) -> int:
    async with database.transaction() as connection:
        due = NOW + timedelta(days=9)
        made = await fetch_one(connection, _INSERT, key=key, at=NOW, due=due, remind=remind, clock=clock, status=status)
        assert made is not None
        return int(made["id"])


async def log_lines(database: Database) -> list[tuple[int, str]]:
    async with database.reading() as connection:
        rows = await fetch_all(connection, sql("SELECT task_id, kind FROM task_log ORDER BY id"))
        return [(item["task_id"], item["kind"]) for item in rows]


async def test_C10_concurrent_sweeps_send_each_due_reminder_once(database: Database) -> None:
    due = [await insert_task(database, f"t{n}", NOW - timedelta(minutes=n)) for n in range(30)]
    await insert_task(database, "later", NOW + timedelta(hours=1))
    await insert_task(database, "never", None)
    await insert_task(database, "over", NOW - timedelta(hours=1), status="closed")
    recorder = ReminderRecorder()
    await asyncio.gather(*(Reminders(database, recorder).sweep() for _ in range(5)))
    assert sorted(recorder.ids) == due
    assert sorted(await log_lines(database)) == [(number, "reminded") for number in due]
    assert await Reminders(database, recorder).sweep() == 0


async def test_a_failed_reminder_delays_no_other_and_is_retried_later(database: Database) -> None:
    first, second = (
        await insert_task(database, "a", NOW - timedelta(hours=2)),
        await insert_task(database, "b", NOW - timedelta(hours=1)),
    )
    recorder = ReminderRecorder(failures=1)
    assert await Reminders(database, recorder).sweep() == 1
    assert recorder.ids == [second]
    async with database.transaction() as connection:
        row = await fetch_one(connection, sql("SELECT remind_at, reminded_at FROM tasks WHERE id = :id"), id=first)
        assert row is not None
        assert row["remind_at"] > NOW
        assert row["reminded_at"] is None
        await connection.execute("UPDATE tasks SET remind_at = now() WHERE remind_at IS NOT NULL")
    assert await Reminders(database, recorder).sweep() == 1
    assert recorder.ids == [second, first]


async def test_a_task_on_a_test_clock_is_reminded_by_that_clocks_driver_only(database: Database) -> None:
    due = NOW - timedelta(days=2)
    number = await insert_task(database, "t", due, clock="slow")
    recorder = ReminderRecorder(failures=1)
    reminders = Reminders(database, recorder)
    assert await reminders.sweep() == 0
    assert await reminders.send_next(due - timedelta(seconds=1), clock="slow") is None
    assert await reminders.send_next(due, clock="slow", scopes=["u_2"]) is None
    assert await reminders.send_next(due, clock="slow", scopes=["u_1"]) is ReminderResult.FAILED
    assert await reminders.send_next(due, clock="slow", scopes=["u_1"]) is ReminderResult.SENT, "it stayed due"
    assert recorder.ids == [number]
