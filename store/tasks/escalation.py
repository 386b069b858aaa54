"""Escalation of late tasks of conversations (C10).

Such a task belongs to no state of a chart, and its run may have ended, so no run has a timer at its deadline. The
deadline is a due column, like that of reminders, which any number of processes read. A late task is read again under
its locks, so it is escalated once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, exists, or_, select

from journeys.tasks.assignment import Roster
from store.database import Connection, Database, fetch_all, sql
from store.expressions import any_of, array_of
from store.rows import RowDict
from store.schema import conversations, tasks
from store.tasks import assignment
from store.tasks.tasks import change_under_lock

MOST = 200
LATE = (
    tasks.c.status == "open",
    tasks.c.level < bindparam("levels"),
    exists().where(conversations.c.task_id == tasks.c.id),
)
"""Of a task that is to be given on once it is due."""
_LATE = sql(
    select(tasks.c.id)
    .where(
        *LATE,
        tasks.c.clock.is_not_distinct_from(bindparam("clock")),
        or_(array_of("scopes", tasks.c.scope_key).is_(None), any_of(tasks.c.scope_key, "scopes")),
        tasks.c.due_at <= bindparam("now"),
    )
    .order_by(tasks.c.due_at, tasks.c.id)
    .limit(bindparam("most"))
)


async def escalate_late(
    database: Database,
    chain: Sequence[str],
    roster: Roster,
    now: datetime,
    *,
    clock: str | None = None,
    scopes: Sequence[str] | None = None,
) -> int:
    """Escalate late tasks of a clock, up to `MOST`; how many. `now` is the clock's; without `scopes` all its tasks."""
    async with database.reading() as connection:
        late = await fetch_all(connection, _LATE, levels=len(chain), now=now, clock=clock, scopes=scopes, most=MOST)
    escalated = 0

    async def escalate(connection: Connection, task: RowDict, at: datetime) -> bool:
        is_late = task["due_at"] is not None and task["due_at"] <= at
        if task["status"] != "open" or task["level"] >= len(chain) or not is_late:
            return False
        named, level = chain[task["level"]], task["level"] + 1
        await assignment.hand_to_next_level(connection, roster, task, named, level=level, at=at)
        return True

    for row in late:
        changed = await change_under_lock(database, row["id"], now, escalate, outside=False)
        escalated += changed is not None and changed[0]
    return escalated
