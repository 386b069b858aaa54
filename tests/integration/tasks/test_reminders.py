"""Reminders of tasks: each owner is told once before the deadline, by whichever process looks first (C10)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from store.database import Database, fetch_all, fetch_one, sql
from store.people.test_clocks import set_clock
from worker.loops.reminders import Reminder, Reminders

NOW = datetime.now(UTC)
_PUT = sql(
    """
    INSERT INTO tasks (key, run, subject_key, journey, action, task, owner, opened_at, due_at, remind_at, clock, status)
    VALUES (:key, 'r', 'u_1', 'j', 'call', 'call', 'dana', :at, :due, :remind, :clock, :status) RETURNING id
    """
)


class Told:
    """Who was told what; the first `ill` times nobody can be reached."""

    def __init__(self, ill: int = 0) -> None:
        self.ids: list[int] = []
        self.ill = ill

    async def __call__(self, reminder: Reminder) -> None:
        if self.ill:
            self.ill -= 1
            raise ConnectionError
        self.ids.append(reminder.task_id)


async def put(
    database: Database, key: str, remind: datetime | None, clock: str | None = None, status: str = "open"
) -> int:
    async with database.transaction() as connection:
        due = NOW + timedelta(days=9)
        made = await fetch_one(connection, _PUT, key=key, at=NOW, due=due, remind=remind, clock=clock, status=status)
        assert made is not None
        return int(made["id"])


async def lines(database: Database) -> list[tuple[int, str]]:
    async with database.reading() as connection:
        found = await fetch_all(connection, sql("SELECT task_id, kind FROM task_log ORDER BY id"))
        return [(item["task_id"], item["kind"]) for item in found]


async def test_C10_what_is_due_is_told_once_however_many_processes_look(database: Database) -> None:
    due = [await put(database, f"t{n}", NOW - timedelta(minutes=n)) for n in range(30)]
    await put(database, "later", NOW + timedelta(hours=1))
    await put(database, "never", None)
    await put(database, "over", NOW - timedelta(hours=1), status="closed")
    told = Told()
    await asyncio.gather(*(Reminders(database, told).sweep() for _ in range(5)))
    assert sorted(told.ids) == due
    assert sorted(await lines(database)) == [(number, "reminded") for number in due]
    assert await Reminders(database, told).sweep() == 0


async def test_an_owner_who_cannot_be_reached_keeps_nobody_waiting_and_is_told_later(database: Database) -> None:
    first, second = (
        await put(database, "a", NOW - timedelta(hours=2)),
        await put(database, "b", NOW - timedelta(hours=1)),
    )
    told = Told(ill=1)
    assert await Reminders(database, told).sweep() == 1
    assert told.ids == [second]
    async with database.transaction() as connection:
        found = await fetch_one(connection, sql("SELECT remind_at, reminded_at FROM tasks WHERE id = :id"), id=first)
        assert found is not None
        assert found["remind_at"] > NOW
        assert found["reminded_at"] is None
        await connection.execute("UPDATE tasks SET remind_at = now() WHERE remind_at IS NOT NULL")
    assert await Reminders(database, told).sweep() == 1
    assert told.ids == [second, first]


async def test_a_task_on_a_test_clock_is_told_by_that_clock(database: Database) -> None:
    async with database.transaction() as connection:
        await set_clock(connection, "slow", NOW, 1.0, NOW + timedelta(days=1))
    number = await put(database, "t", NOW + timedelta(days=2), clock="slow")
    told = Told()
    assert await Reminders(database, told).sweep() == 0
    async with database.transaction() as connection:
        await connection.execute("UPDATE clocks SET speed = 1e9, limit_at = limit_at + interval '9 days'")
    assert await Reminders(database, told).sweep() == 1
    assert told.ids == [number]
