"""Merge of tasks when a visitor becomes a user."""

from __future__ import annotations

from sqlalchemy import Text, bindparam, cast, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from store.database import Connection, execute, sql
from store.schema import task_asks, task_log, task_mirrors, tasks
from store.tasks import log

_stay = tasks.alias("stay")
_doubles = (
    select(tasks.c.id, _stay.c.id.label("stay_id"), _stay.c.opened_at.label("stay_opened_at"))
    .join_from(tasks, _stay, _stay.c.reason == tasks.c.reason)
    .where(
        tasks.c.scope_key == bindparam("gone"),
        tasks.c.status == "open",
        _stay.c.scope_key == bindparam("into"),
        _stay.c.status == "open",
    )
    .subquery("doubles")
)
_joined = (
    update(tasks)
    .where(tasks.c.id == _doubles.c.id)
    .values(
        status="withdrawn",
        resolution=literal("duplicate of task ").concat(cast(_doubles.c.stay_id, Text)),
        closed_at=func.greatest(tasks.c.opened_at, _doubles.c.stay_opened_at),
    )
    .returning(tasks.c.id, tasks.c.closed_at, tasks.c.resolution)
    .cte("joined")
)
_stale = (
    update(task_mirrors)
    .where(task_mirrors.c.task_id.in_(select(_joined.c.id)))
    .values(version=task_mirrors.c.version + 1)
    .cte("stale")
)
# Of two open tasks of one reason the user's stays, and the requests for the visitor's task move to it.
_MOVES = (
    sql(update(tasks).where(tasks.c.subject_key == bindparam("gone")).values(subject_key=bindparam("into"))),
    sql(update(task_asks).where(task_asks.c.task_id == _doubles.c.id).values(task_id=_doubles.c.stay_id)),
    sql(
        insert(task_log)
        .from_select(
            ["task_id", "at", "kind", "by", "text"],
            select(_joined.c.id, _joined.c.closed_at, literal("withdrawn"), literal(log.SELF), _joined.c.resolution),
        )
        .add_cte(_stale)
    ),
    sql(update(tasks).where(tasks.c.scope_key == bindparam("gone")).values(scope_key=bindparam("into"))),
)


async def move_to(connection: Connection, gone: str, into: str) -> None:
    """Move a visitor's tasks to the user."""
    for statement in _MOVES:
        await execute(connection, statement, gone=gone, into=into)
