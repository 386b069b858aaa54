"""Which tasks a CRM does not show as they are: every line of a task's log makes its copies stale, in the same commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from store.database import Connection, execute, fetch_all, fetch_one, sql

LEASE: Final = timedelta(minutes=1)
"""How long one process has a copy in hand; also what passes before an attempt whose end nobody saw is repeated."""
LONGEST: Final = timedelta(hours=1)

_ADOPT = sql(
    """
    INSERT INTO task_mirrors (task_id, mirror) SELECT t.id, :mirror FROM tasks t
    WHERE t.status = 'open' AND NOT EXISTS (SELECT 1 FROM task_mirrors m WHERE m.task_id = t.id AND m.mirror = :mirror)
    ON CONFLICT DO NOTHING
    """
)
_CLAIM = sql(
    """
    UPDATE task_mirrors SET next_at = clock_timestamp() + CAST(:lease AS interval), attempts = attempts + 1
    WHERE (task_id, mirror) IN
      (SELECT task_id, mirror FROM task_mirrors WHERE mirror = :mirror AND version > pushed AND next_at <= clock_timestamp()
       ORDER BY next_at, task_id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING task_id, reference, version, attempts, reopens
    """
)
_PUSHED = sql(
    """
    UPDATE task_mirrors SET pushed = :version, reference = :reference, attempts = 0, next_at = '-infinity', last_error = NULL,
      reopens = false
    WHERE task_id = :task AND mirror = :mirror AND pushed < :version
    """
)
_FAILED = sql(
    """
    UPDATE task_mirrors SET last_error = :error, next_at = clock_timestamp() + CAST(:pause AS interval)
    WHERE task_id = :task AND mirror = :mirror
    """
)
_PUT_BACK = sql(
    """
    UPDATE task_mirrors SET next_at = '-infinity', attempts = attempts - 1
    WHERE task_id = :task AND mirror = :mirror AND attempts = :attempts
    """
)
_STALE = sql("SELECT count(*) AS stale FROM task_mirrors WHERE mirror = :mirror AND version > pushed")
_OPEN = sql(
    """
    SELECT m.task_id, m.reference FROM task_mirrors m JOIN tasks t ON t.id = m.task_id
    WHERE m.mirror = :mirror AND t.status = 'open' AND m.reference IS NOT NULL AND m.task_id > :after
    ORDER BY m.task_id LIMIT :limit
    """
)
_REOPEN = sql(
    "UPDATE task_mirrors SET reopens = true, version = version + 1 WHERE task_id = :task AND mirror = :mirror"
)


@dataclass(frozen=True, slots=True)
class StaleTask:
    """A copy that one process has in hand: `version` is what it becomes."""

    task: int
    reference: str | None
    version: int
    attempts: int
    reopens: bool


async def claim_stale_task(connection: Connection, mirror: str) -> StaleTask | None:
    """The next copy that is stale and that nobody else has in hand, those of new tasks included."""
    await execute(connection, _ADOPT, mirror=mirror)
    found = await fetch_one(connection, _CLAIM, mirror=mirror, lease=LEASE)
    names = ("task_id", "reference", "version", "attempts", "reopens")
    return StaleTask(*(found[name] for name in names)) if found else None


async def mark_pushed(connection: Connection, mirror: str, stale: StaleTask, reference: str) -> None:
    """It shows that version now; what came meanwhile makes it stale again at once."""
    await execute(connection, _PUSHED, task=stale.task, mirror=mirror, version=stale.version, reference=reference)


async def postpone(connection: Connection, mirror: str, stale: StaleTask, error: str) -> None:
    """Tried again later, and later each time."""
    pause = min(LONGEST, LEASE * 2 ** min(stale.attempts - 1, 10))
    await execute(connection, _FAILED, task=stale.task, mirror=mirror, error=error[:300], pause=pause)


async def put_back(connection: Connection, mirror: str, stale: StaleTask) -> None:
    """It was not tried: whoever looks next may have it."""
    await execute(connection, _PUT_BACK, task=stale.task, mirror=mirror, attempts=stale.attempts)


async def count_stale(connection: Connection, mirror: str) -> int:
    """How many copies are not what their task is."""
    found = await fetch_one(connection, _STALE, mirror=mirror)
    return int(found["stale"]) if found else 0


async def shown_open(connection: Connection, mirror: str, after: int, limit: int) -> list[Mapping[str, Any]]:
    """Open tasks that have a copy, by number."""
    return await fetch_all(connection, _OPEN, mirror=mirror, after=after, limit=limit)


async def reopen_crm_task(connection: Connection, mirror: str, task: int) -> None:
    """What was done there is not taken over: the copy is to be open again."""
    await execute(connection, _REOPEN, mirror=mirror, task=task)
