"""Which journeys there are, in which versions, and how many runs each has: what a publisher looks at."""

from __future__ import annotations

from store.database import Connection, fetch_all, fetch_one, sql
from store.locks import Lock, lock_until_commit
from store.rows import RowDict

_LIST = sql(
    """
    SELECT j.key, d.hash, d.version, j.live, d.published_at, d.published_by,
      (SELECT count(*) FROM runs r WHERE r.journey = j.key AND r.status = 'open') AS open_runs
    FROM journeys j JOIN definitions d ON d.hash = j.hash
    WHERE j.key > :after ORDER BY j.key LIMIT :limit
    """
)
_ONE = sql(
    """
    SELECT j.key, d.hash, d.version, j.live, d.published_at, d.published_by, d.artifact, d.source,
      (SELECT count(*) FROM runs r WHERE r.journey = j.key AND r.status = 'open') AS open_runs
    FROM journeys j JOIN definitions d ON d.hash = j.hash WHERE j.key = :key
    """
)
_VERSIONS = sql(
    """
    SELECT d.version, d.hash, d.published_at, d.published_by, j.hash = d.hash AS current,
      (SELECT count(*) FROM runs r WHERE r.journey = d.journey AND r.definition = d.hash AND r.status = 'open') AS open_runs
    FROM definitions d LEFT JOIN journeys j ON j.key = d.journey
    WHERE d.journey = :key AND (CAST(:before AS int) IS NULL OR d.version < :before)
    ORDER BY d.version DESC LIMIT :limit
    """
)
_OF_VERSION = sql("SELECT hash, version, artifact, source FROM definitions WHERE journey = :key AND version = :version")
_LIVE = sql(
    "SELECT d.artifact FROM journeys j JOIN definitions d ON d.hash = j.hash WHERE j.live AND j.key <> :key ORDER BY j.key"
)


async def one_at_a_time(connection: Connection) -> None:
    """Until this transaction ends nobody else publishes over the API: what was read stays true while it is replaced."""
    await lock_until_commit(connection, Lock.PUBLISH)


async def journeys(connection: Connection, after: str, limit: int) -> list[RowDict]:
    """Published journeys by key."""
    return [dict(item) for item in await fetch_all(connection, _LIST, after=after, limit=limit)]


async def journey(connection: Connection, key: str) -> RowDict | None:
    """One journey in its current version, with its source and its artifact."""
    found = await fetch_one(connection, _ONE, key=key)
    return dict(found) if found else None


async def versions(connection: Connection, key: str, before: int | None, limit: int) -> list[RowDict]:
    """All versions of a journey, the newest first."""
    return [dict(item) for item in await fetch_all(connection, _VERSIONS, key=key, before=before, limit=limit)]


async def version(connection: Connection, key: str, number: int) -> RowDict | None:
    """One version of a journey."""
    found = await fetch_one(connection, _OF_VERSION, key=key, version=number)
    return dict(found) if found else None


async def live_beside(connection: Connection, key: str) -> list[str]:
    """The artifacts of every other live journey: two of them may not contradict each other."""
    return [item["artifact"] for item in await fetch_all(connection, _LIVE, key=key)]
