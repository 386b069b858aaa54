"""Publication of a definition: a new version, or the existing one."""

from __future__ import annotations

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from journeys.decision.chart import Chart
from store.database import Connection, Database, execute, fetch_one, sql
from store.locks import Lock, lock_until_commit
from store.schema import catalogue, definitions, journeys

_CURRENT = sql(
    select(definitions.c.hash, definitions.c.version)
    .join_from(journeys, definitions, definitions.c.hash == journeys.c.hash)
    .where(journeys.c.key == bindparam("key"))
    .with_for_update(of=journeys)
)
_KNOWN = sql(
    select(definitions.c.hash, definitions.c.version).where(
        definitions.c.journey == bindparam("key"), definitions.c.hash == bindparam("hash")
    )
)
_NEXT_VERSION = sql(
    select((func.coalesce(func.max(definitions.c.version), 0) + 1).label("version")).where(
        definitions.c.journey == bindparam("key")
    )
)
_ADD = sql(
    insert(definitions).values(
        hash=bindparam("hash"),
        journey=bindparam("key"),
        version=bindparam("version"),
        artifact=bindparam("artifact"),
        source=bindparam("source"),
        published_by=bindparam("by"),
    )
)
_pointed = insert(journeys).values(key=bindparam("key"), hash=bindparam("hash"))
_POINT = sql(
    _pointed.on_conflict_do_update(index_elements=[journeys.c.key], set_={"hash": _pointed.excluded.hash, "live": True})
)
_NEXT_EDITION = sql(update(catalogue).values(edition=catalogue.c.edition + 1))


async def publish_definition(database: Database, chart: Chart, text: str, source: str, by: str) -> tuple[int, bool]:
    """Make a definition the current version of its journey; its version, and whether it is new.

    The same content keeps its version.
    """
    async with database.transaction() as connection:
        await lock_until_commit(connection, Lock.CATALOGUE)
        current = await fetch_one(connection, _CURRENT, key=chart.key)
        if current is not None and current["hash"] == chart.hash:
            return int(current["version"]), False
        existing = await fetch_one(connection, _KNOWN, key=chart.key, hash=chart.hash)
        version = int(existing["version"]) if existing else await _add(connection, chart, text, source, by)
        await execute(connection, _POINT, key=chart.key, hash=chart.hash)
        await execute(connection, _NEXT_EDITION)
        return version, existing is None


async def _add(connection: Connection, chart: Chart, text: str, source: str, by: str) -> int:
    row = await fetch_one(connection, _NEXT_VERSION, key=chart.key)
    version = int(row["version"]) if row else 1
    await execute(
        connection, _ADD, hash=chart.hash, key=chart.key, version=version, artifact=text, source=source, by=by
    )
    return version
