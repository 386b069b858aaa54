"""Position of the feed's push, and the batch in hand.

So a batch that is tried again, by whoever and after whatever crash, is the same batch under the same identity.
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
    """Everything up to `position` has arrived; what is behind it up to `upto` is being pushed, not before `due_at`."""

    position: int
    upto: int | None
    attempts: int
    due_at: datetime | None
    last_error: str | None
    pushed_at: datetime | None


@dataclass(frozen=True, slots=True)
class PushLag:
    """The newest line, and since when the oldest that has not been pushed waits."""

    newest: int
    oldest_at: datetime | None
    seconds: float


async def read_position(connection: Connection) -> PushPosition:
    """Where the push is."""
    row = await fetch_one(connection, _READ)
    assert row is not None, "the migration has made its row"
    return PushPosition(**row)


async def fix_batch(connection: Connection, place: PushPosition, certain: int, limit: int) -> bool:
    """Say where the next batch ends, at most `limit` lines away and not behind what is certain; False if there is none."""
    row = await fetch_one(connection, _END, position=place.position, upto=certain, limit=limit)
    if row is None or row["id"] is None:
        return False
    return await execute(connection, _FIX, position=place.position, upto=row["id"]) == 1


async def advance_position(connection: Connection, place: PushPosition) -> None:
    """The batch has arrived."""
    await execute(connection, _PUSHED, position=place.position, upto=place.upto)


async def record_push_failure(connection: Connection, place: PushPosition, due: datetime, error: str) -> None:
    """It has not, or nobody knows: the same one again at `due`."""
    await execute(connection, _FAILED, position=place.position, upto=place.upto, due=due, error=error[:300])


async def restart_push(connection: Connection) -> bool:
    """Let the next try be now; False if none waits."""
    return await execute(connection, _AGAIN) == 1


async def push_lag(connection: Connection) -> PushLag:
    """How far behind the push is."""
    row = await fetch_one(connection, _LAG)
    assert row is not None, "the migration has made its row"
    return PushLag(row["newest"], row["at"], float(row["seconds"]))
