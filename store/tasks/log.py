"""What happened to a task, by whom and why: a log that only grows."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from store.database import Connection, execute, fetch_all, sql
from store.rows import RowDict

SELF: Final = "tenure"
"""Who did what no person did."""
TaskLogKind = Literal[
    "opened", "joined", "left", "assigned", "escalated", "snoozed", "reminded", "noted", "closed", "withdrawn"
]

# Whoever shows a copy of the task elsewhere has something new to show (`mirroring.py`).
_WRITE = sql(
    """
    WITH stale AS (UPDATE task_mirrors SET version = version + 1 WHERE task_id = :task)
    INSERT INTO task_log (task_id, at, kind, by, text) VALUES (:task, :at, :kind, :by, :text)
    """
)
_READ = sql(
    """
    SELECT id, at, kind, by, text FROM task_log WHERE task_id = :task AND id > :after ORDER BY id LIMIT :limit
    """
)


async def write_task_log(
    connection: Connection, task: int, at: datetime, kind: TaskLogKind, by: str, text: str
) -> None:
    """One more line."""
    await execute(connection, _WRITE, task=task, at=at, kind=kind, by=by, text=text)


async def read_task_log(connection: Connection, task: int, *, after: int, limit: int) -> list[RowDict]:
    """The lines of a task, the oldest first."""
    return [dict(item) for item in await fetch_all(connection, _READ, task=task, after=after, limit=limit)]
