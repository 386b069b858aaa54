"""How far the feed has been pushed: a durable place, and the end of the batch in hand, fixed before its first try.

So a batch that is tried again, by whoever and after whatever crash, is the same batch under the same identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from store.database import Connection, execute, fetch_one, sql

_READ = sql("SELECT position, upto, attempts, due_at, last_error, pushed_at FROM feed_push")
_FIX = sql("UPDATE feed_push SET upto = :upto WHERE position = :position AND upto IS NULL")
_PUSHED = sql(
    """
    UPDATE feed_push SET position = upto, upto = NULL, attempts = 0, due_at = NULL, last_error = NULL, pushed_at = clock_timestamp()
    WHERE position = :position AND upto = :upto
    """
)
_FAILED = sql(
    """
    UPDATE feed_push SET attempts = attempts + 1, due_at = :due, last_error = :error
    WHERE position = :position AND upto = :upto
    """
)
_AGAIN = sql("UPDATE feed_push SET due_at = clock_timestamp() WHERE due_at > clock_timestamp()")
_END = sql(
    "SELECT max(id) AS id FROM (SELECT id FROM feed WHERE id > :position AND id <= :upto ORDER BY id LIMIT :limit) AS batch"
)
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
    found = await fetch_one(connection, _READ)
    assert found is not None, "the migration has made its row"
    return PushPosition(**{name: found[name] for name in PushPosition.__slots__})


async def fix_batch(connection: Connection, place: PushPosition, certain: int, limit: int) -> bool:
    """Say where the next batch ends, at most `limit` lines away and not behind what is certain; False if there is none."""
    found = await fetch_one(connection, _END, position=place.position, upto=certain, limit=limit)
    if found is None or found["id"] is None:
        return False
    return await execute(connection, _FIX, position=place.position, upto=found["id"]) == 1


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
    found = await fetch_one(connection, _LAG)
    assert found is not None, "the migration has made its row"
    return PushLag(found["newest"], found["at"], float(found["seconds"]))
