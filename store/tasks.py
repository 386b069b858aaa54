"""Work for people: what is open, and closing it, which its journey hears in the same commit (C10)."""

from __future__ import annotations

from datetime import datetime

from store import outbox, subjects
from store.again import repeated
from store.clocks import now_for
from store.database import Connection, Database, row, rows, sql
from store.queries import Row, loaded

_COLUMNS = """
    t.id, t.key, t.run, t.subject_key AS subject, t.journey, t.action, t.task, t.owner, t.level, t.data, t.status,
    t.resolution, t.opened_at, t.due_at, t.closed_at FROM tasks t
"""
_LIST = sql(
    f"""
    SELECT {_COLUMNS} WHERE (CAST(:owner AS text) IS NULL OR t.owner = :owner)
      AND (CAST(:status AS text) IS NULL OR t.status = :status) AND (CAST(:run AS text) IS NULL OR t.run = :run)
      AND t.id > :after ORDER BY t.id LIMIT :limit
    """
)
_ONE = sql(f"SELECT {_COLUMNS} WHERE t.id = :id")
_RUN = sql("SELECT r.lane, r.clock, r.status FROM runs r WHERE r.id = :run")
_CLOSE = sql(
    """
    UPDATE tasks SET status = 'closed', resolution = :resolution, closed_at = :at
    WHERE id = :id AND status = 'open' RETURNING id
    """
)


class NotOpen(Exception):
    """The task is closed or withdrawn already. The caller's turn: look at how it ended."""


async def list_tasks(
    connection: Connection, *, owner: str | None, status: str | None, run: str | None = None, after: int, limit: int
) -> list[Row]:
    """Tasks in the order in which they were opened."""
    found = await rows(connection, _LIST, owner=owner, status=status, run=run, after=after, limit=limit)
    return [_task(dict(item)) for item in found]


async def get_task(connection: Connection, identity: int) -> Row | None:
    """One task."""
    found = await row(connection, _ONE, id=identity)
    return _task(dict(found)) if found else None


def _task(found: Row) -> Row:
    return {**found, "data": loaded(found["data"])}


async def close_task(database: Database, identity: int, *, resolution: str, by: str, note: str = "") -> Row | None:
    """Close it and tell its run `<action>.closed`, once. None if there is no such task; raises NotOpen."""

    async def close(connection: Connection) -> Row | None:
        task = await get_task(connection, identity)
        if task is None:
            return None
        run = await row(connection, _RUN, run=task["run"])
        # The recipient's lock comes first, as in every step, so that two who close at once wait instead of deadlocking.
        await subjects.lock(connection, [run["lane"]] if run else [])
        at = await now_for(connection, run["clock"] if run else None)
        if await row(connection, _CLOSE, id=identity, resolution=resolution, at=at) is None:
            ended = await get_task(connection, identity)
            if ended is not None and (ended["status"], ended["resolution"]) == ("closed", resolution):
                return ended
            raise NotOpen
        if run is not None and run["status"] == "open":
            await _tell(connection, task, run["lane"], at, {"outcome": resolution, "by": by, "note": note})
        return {**task, "status": "closed", "resolution": resolution, "closed_at": at}

    return await repeated(database, close)


async def _tell(connection: Connection, task: Row, lane: str, at: datetime, data: dict[str, str]) -> None:
    await outbox.tell(
        connection,
        recipient=lane,
        kind="signal",
        name=f"{task['action']}.closed",
        event_id=f"{task['key']}=closed",
        at=at,
        data={**data, "resolution": data["outcome"]},
        target=task["run"],
    )
