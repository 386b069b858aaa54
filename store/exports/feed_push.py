"""Position of the feed's push, and the batch in flight.

The batch is recorded before it is sent. A retry by any process, after any crash, sends the same batch under the same
identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, func, select, update

from store.database import Connection, execute, fetch_one, sql
from store.schema import feed, feed_push

_READ = sql(
    select(
        feed_push.c.position,
        feed_push.c.upto,
        feed_push.c.attempts,
        feed_push.c.due_at,
        feed_push.c.last_error,
        feed_push.c.pushed_at,
    )
)
_FIX = sql(
    update(feed_push)
    .where(feed_push.c.position == bindparam("position"), feed_push.c.upto.is_(None))
    .values(upto=bindparam("upto"))
)
_batch = update(feed_push).where(feed_push.c.position == bindparam("position"), feed_push.c.upto == bindparam("upto"))
_PUSHED = sql(
    _batch.values(
        position=feed_push.c.upto,
        upto=None,
        attempts=0,
        due_at=None,
        last_error=None,
        pushed_at=func.clock_timestamp(),
    )
)
_FAILED = sql(_batch.values(attempts=feed_push.c.attempts + 1, due_at=bindparam("due"), last_error=bindparam("error")))
_AGAIN = sql(update(feed_push).where(feed_push.c.due_at > func.clock_timestamp()).values(due_at=func.clock_timestamp()))
_next = (
    select(feed.c.id)
    .where(feed.c.id > bindparam("position"), feed.c.id <= bindparam("upto"))
    .order_by(feed.c.id)
    .limit(bindparam("limit"))
    .subquery("next")
)
_END = sql(select(func.max(_next.c.id).label("id")))
_LAG = sql(
    """
    SELECT (SELECT coalesce(max(id), 0) FROM feed) AS newest, first.at,
      coalesce(extract(epoch FROM clock_timestamp() - first.at), 0) AS seconds
    FROM feed_push LEFT JOIN LATERAL (SELECT at FROM feed WHERE id > position ORDER BY id LIMIT 1) AS first ON true
    """
)


@dataclass(frozen=True, slots=True)
class PushPosition:
    """Everything up to `position` has arrived; lines after it up to `upto` are being pushed, not before `due_at`."""

    position: int
    upto: int | None
    attempts: int
    due_at: datetime | None
    last_error: str | None
    pushed_at: datetime | None


@dataclass(frozen=True, slots=True)
class PushLag:
    """The newest line; instant and age in seconds of the oldest line that has not been pushed."""

    newest: int
    oldest_at: datetime | None
    seconds: float


async def read_position(connection: Connection) -> PushPosition:
    """The position of the push."""
    row = await fetch_one(connection, _READ)
    assert row is not None, "the migration has made its row"
    return PushPosition(**row)


async def fix_batch(connection: Connection, place: PushPosition, certain: int, limit: int) -> bool:
    """Record the end of the next batch: at most `limit` lines, all of them certain; False if there is none."""
    row = await fetch_one(connection, _END, position=place.position, upto=certain, limit=limit)
    if row is None or row["id"] is None:
        return False
    return await execute(connection, _FIX, position=place.position, upto=row["id"]) == 1


async def advance_position(connection: Connection, place: PushPosition) -> None:
    """Record that the batch has arrived."""
    await execute(connection, _PUSHED, position=place.position, upto=place.upto)


async def record_push_failure(connection: Connection, place: PushPosition, due: datetime, error: str) -> None:
    """Record that the batch failed, or that its result is unknown: the same batch is due again at `due`."""
    await execute(connection, _FAILED, position=place.position, upto=place.upto, due=due, error=error[:300])


async def restart_push(connection: Connection) -> bool:
    """Make a waiting batch due now; False if none waits."""
    return await execute(connection, _AGAIN) == 1


async def push_lag(connection: Connection) -> PushLag:
    """The lag of the push."""
    row = await fetch_one(connection, _LAG)
    assert row is not None, "the migration has made its row"
    return PushLag(row["newest"], row["at"], float(row["seconds"]))
