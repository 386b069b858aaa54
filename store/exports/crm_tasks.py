"""Stale copies of tasks in CRMs, claimed by one process at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Interval, Text, bindparam, exists, func, not_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from store.database import Connection, execute, fetch_all, fetch_one, sql
from store.expressions import PAST
from store.schema import task_mirrors, tasks

LEASE: Final = timedelta(minutes=1)
"""How long one process holds a copy; also the wait before an attempt with an unknown result is repeated."""
LONGEST: Final = timedelta(hours=1)

_copied = exists().where(task_mirrors.c.task_id == tasks.c.id, task_mirrors.c.mirror == bindparam("mirror"))
_ADOPT = sql(
    insert(task_mirrors)
    .from_select(
        ["task_id", "mirror"],
        select(tasks.c.id, bindparam("mirror", type_=Text)).where(tasks.c.status == "open", not_(_copied)),
    )
    .on_conflict_do_nothing()
)
_waiting = task_mirrors.alias("waiting")
_next = (
    select(_waiting.c.task_id, _waiting.c.mirror)
    .where(
        _waiting.c.mirror == bindparam("mirror"),
        _waiting.c.version > _waiting.c.pushed,
        _waiting.c.next_at <= func.statement_timestamp(),
    )
    .order_by(_waiting.c.next_at, _waiting.c.task_id)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_CLAIM = sql(
    update(task_mirrors)
    .where(tuple_(task_mirrors.c.task_id, task_mirrors.c.mirror).in_(_next))
    .values(
        next_at=func.clock_timestamp() + bindparam("lease", type_=Interval),
        attempts=task_mirrors.c.attempts + 1,
    )
    .returning(
        task_mirrors.c.task_id.label("task"),
        task_mirrors.c.reference,
        task_mirrors.c.version,
        task_mirrors.c.attempts,
        task_mirrors.c.reopens,
    )
)
_copy = update(task_mirrors).where(
    task_mirrors.c.task_id == bindparam("task"), task_mirrors.c.mirror == bindparam("mirror")
)
_PUSHED = sql(
    _copy.where(task_mirrors.c.pushed < bindparam("version")).values(
        pushed=bindparam("version"),
        reference=bindparam("reference"),
        attempts=0,
        next_at=PAST,
        last_error=None,
        reopens=False,
    )
)
_FAILED = sql(
    _copy.values(last_error=bindparam("error"), next_at=func.clock_timestamp() + bindparam("pause", type_=Interval))
)
_PUT_BACK = sql(
    _copy.where(task_mirrors.c.attempts == bindparam("attempts")).values(
        next_at=PAST, attempts=task_mirrors.c.attempts - 1
    )
)
_STALE = sql(
    select(func.count().label("stale")).where(
        task_mirrors.c.mirror == bindparam("mirror"), task_mirrors.c.version > task_mirrors.c.pushed
    )
)
_OPEN = sql(
    select(task_mirrors.c.task_id, task_mirrors.c.reference)
    .join_from(task_mirrors, tasks, tasks.c.id == task_mirrors.c.task_id)
    .where(
        task_mirrors.c.mirror == bindparam("mirror"),
        tasks.c.status == "open",
        task_mirrors.c.reference.is_not(None),
        task_mirrors.c.task_id > bindparam("after"),
    )
    .order_by(task_mirrors.c.task_id)
    .limit(bindparam("limit"))
)
_REOPEN = sql(_copy.values(reopens=True, version=task_mirrors.c.version + 1))


@dataclass(frozen=True, slots=True)
class StaleTask:
    """A copy that one process has claimed: `version` is the one that it is to show."""

    task: int
    reference: str | None
    version: int
    attempts: int
    reopens: bool


async def claim_stale_task(connection: Connection, mirror: str) -> StaleTask | None:
    """Claim the next stale copy that no other process holds, those of new tasks included."""
    await execute(connection, _ADOPT, mirror=mirror)
    row = await fetch_one(connection, _CLAIM, mirror=mirror, lease=LEASE)
    return StaleTask(**row) if row else None


async def mark_pushed(connection: Connection, mirror: str, stale: StaleTask, reference: str) -> None:
    """Record that the copy shows this version; a later change makes it stale again at once."""
    await execute(connection, _PUSHED, task=stale.task, mirror=mirror, version=stale.version, reference=reference)


async def postpone(connection: Connection, mirror: str, stale: StaleTask, error: str) -> None:
    """Retry later; the pause grows with each attempt."""
    pause = min(LONGEST, LEASE * 2 ** min(stale.attempts - 1, 10))
    await execute(connection, _FAILED, task=stale.task, mirror=mirror, error=error[:300], pause=pause)


async def put_back(connection: Connection, mirror: str, stale: StaleTask) -> None:
    """Release a claim that was not attempted."""
    await execute(connection, _PUT_BACK, task=stale.task, mirror=mirror, attempts=stale.attempts)


async def count_stale(connection: Connection, mirror: str) -> int:
    """The number of copies that do not show the current version of their task."""
    row = await fetch_one(connection, _STALE, mirror=mirror)
    return int(row["stale"]) if row else 0


async def shown_open(connection: Connection, mirror: str, after: int, limit: int) -> list[Mapping[str, Any]]:
    """Open tasks that have a copy, by number."""
    return await fetch_all(connection, _OPEN, mirror=mirror, after=after, limit=limit)


async def reopen_crm_task(connection: Connection, mirror: str, task: int) -> None:
    """Make a copy open again in the CRM: its closing there was not accepted."""
    await execute(connection, _REOPEN, mirror=mirror, task=task)
