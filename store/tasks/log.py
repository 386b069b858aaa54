"""The append-only log of tasks: what happened, by whom and why."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects.postgresql import insert

from store.database import Connection, execute, fetch_all, sql
from store.rows import RowDict
from store.schema import task_log, task_mirrors

SELF: Final = "tenure"
"""The author of lines that no person caused."""
TaskLogKind = Literal[
    "opened", "joined", "left", "assigned", "escalated", "snoozed", "reminded", "noted", "closed", "withdrawn"
]

# Every line makes the copies of the task in CRMs stale (`store/exports/crm_tasks.py`).
_stale = (
    update(task_mirrors)
    .where(task_mirrors.c.task_id == bindparam("task"))
    .values(version=task_mirrors.c.version + 1)
    .cte("stale")
)
_WRITE = sql(
    insert(task_log)
    .values(
        task_id=bindparam("task"),
        at=bindparam("at"),
        kind=bindparam("kind"),
        by=bindparam("by"),
        text=bindparam("text"),
    )
    .add_cte(_stale)
)
_READ = sql(
    select(task_log.c.id, task_log.c.at, task_log.c.kind, task_log.c.by, task_log.c.text)
    .where(task_log.c.task_id == bindparam("task"), task_log.c.id > bindparam("after"))
    .order_by(task_log.c.id)
    .limit(bindparam("limit"))
)


async def write_task_log(
    connection: Connection, task: int, at: datetime, kind: TaskLogKind, by: str, text: str
) -> None:
    """Append a line."""
    await execute(connection, _WRITE, task=task, at=at, kind=kind, by=by, text=text)


async def read_task_log(connection: Connection, task: int, *, after: int, limit: int) -> list[RowDict]:
    """The lines of a task, oldest first."""
    return [dict(row) for row in await fetch_all(connection, _READ, task=task, after=after, limit=limit)]
