"""The task of an answer that nobody gave in time goes to the next one, as a journey's task does (C10).

No run of its own rings for it: it belongs to no state of a chart, and the run that was answered may have ended. So its deadline is
a due column like that of reminders, at which any number of processes look. What is late when they do is taken up under the
task's locks and looked at again there, so it is escalated once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from journeys.tasks.assignment import Roster
from store.database import Connection, Database, fetch_all, sql
from store.rows import RowDict
from store.tasks import assignment
from store.tasks.tasks import CLOCKS_NOW, change_under_lock

MOST = 200
_LATE = sql(
    f"""
    SELECT t.id FROM tasks t WHERE t.status = 'open' AND t.level < :levels AND t.due_at <= {CLOCKS_NOW}
      AND EXISTS (SELECT 1 FROM conversations c WHERE c.task_id = t.id) ORDER BY t.due_at, t.id LIMIT :most
    """  # noqa: S608 -- the expression is ours
)


async def escalate_late(database: Database, chain: Sequence[str], roster: Roster, now: datetime) -> int:
    """Give on what is late, up to `MOST` tasks; how many were. `now` is the real one, each task lives by its own clock."""
    async with database.reading() as connection:
        late = await fetch_all(connection, _LATE, levels=len(chain), now=now, most=MOST)
    given = 0

    async def give_on(connection: Connection, task: RowDict, at: datetime) -> bool:
        is_late = task["due_at"] is not None and task["due_at"] <= at
        if task["status"] != "open" or task["level"] >= len(chain) or not is_late:
            return False
        named, level = chain[task["level"]], task["level"] + 1
        await assignment.escalate_task(connection, roster, task, named, level=level, account=task["account"], at=at)
        return True

    for item in late:
        found = await change_under_lock(database, item["id"], now, give_on)
        given += found is not None and found[0]
    return given
