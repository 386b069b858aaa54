"""Escalation of late tasks of conversations (C10).

Such a task belongs to no state of a chart, and its run may have ended, so no run has a timer at its deadline. The
deadline is a due column, like that of reminders, which any number of processes read. A late task is read again under
its locks, so it is escalated once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, exists, select

from journeys.tasks.assignment import Roster
from store.database import Connection, Database, fetch_all, sql
from store.people.test_clocks import now_by_clock
from store.rows import RowDict
from store.schema import clocks, conversations, tasks
from store.schema.base import Timestamp
from store.tasks import assignment
from store.tasks.tasks import change_under_lock

MOST = 200
_LATE = sql(
    select(tasks.c.id)
    .select_from(tasks.outerjoin(clocks, clocks.c.id == tasks.c.clock))
    .where(
        tasks.c.status == "open",
        tasks.c.level < bindparam("levels"),
        tasks.c.due_at <= now_by_clock(bindparam("now", type_=Timestamp)),
        exists().where(conversations.c.task_id == tasks.c.id),
    )
    .order_by(tasks.c.due_at, tasks.c.id)
    .limit(bindparam("most"))
)


async def escalate_late(database: Database, chain: Sequence[str], roster: Roster, now: datetime) -> int:
    """Escalate late tasks, up to `MOST`; how many. `now` is the real instant, each task is late by its own clock."""
    async with database.reading() as connection:
        late = await fetch_all(connection, _LATE, levels=len(chain), now=now, most=MOST)
    escalated = 0

    async def escalate(connection: Connection, task: RowDict, at: datetime) -> bool:
        is_late = task["due_at"] is not None and task["due_at"] <= at
        if task["status"] != "open" or task["level"] >= len(chain) or not is_late:
            return False
        named, level = chain[task["level"]], task["level"] + 1
        await assignment.hand_to_next_level(
            connection, roster, task, named, level=level, account=task["account"], at=at
        )
        return True

    for row in late:
        changed = await change_under_lock(database, row["id"], now, escalate)
        escalated += changed is not None and changed[0]
    return escalated
