"""Publication of definitions: a new version, or the existing one; and their retirement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ARRAY, Text, any_, bindparam, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert

from journeys.decision.chart import Chart
from store.database import Connection, Database, execute, fetch_all, fetch_one, sql
from store.locks import Lock, lock_until_commit
from store.rows import RowDict
from store.schema import catalogue, definitions, journeys, runs

_CURRENT = sql(
    select(definitions.c.hash, definitions.c.version, journeys.c.live)
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


_RETIRE = sql(update(journeys).where(journeys.c.key == any_(bindparam("keys", type_=ARRAY(Text)))).values(live=False))
_LIVE = sql(select(journeys.c.key).where(journeys.c.live).order_by(journeys.c.key))
_OPEN = sql(
    select(definitions.c.journey, definitions.c.version, definitions.c.hash, definitions.c.artifact)
    .where(exists().where(runs.c.definition == definitions.c.hash, runs.c.status == "open"))
    .order_by(definitions.c.journey, definitions.c.version)
)


class NewDefinition(NamedTuple):
    """A definition to publish: its chart, the text of its artifact, and the text that its author wrote."""

    chart: Chart
    artifact: str
    source: str


async def publish_definition(database: Database, chart: Chart, text: str, source: str, by: str) -> tuple[int, bool]:
    """Make a definition the current version of its journey; its version, and whether it is new.

    The same content keeps its version.
    """
    async with database.transaction() as connection:
        await lock_until_commit(connection, Lock.CATALOGUE)
        return await publish_within(connection, NewDefinition(chart, text, source), by)


async def publish_within(connection: Connection, new: NewDefinition, by: str) -> tuple[int, bool]:
    """The same in the caller's transaction, which has `Lock.CATALOGUE`."""
    key, content = new.chart.key, new.chart.hash
    current = await fetch_one(connection, _CURRENT, key=key)
    if current is not None and current["hash"] == content and current["live"]:
        return int(current["version"]), False
    existing = await fetch_one(connection, _KNOWN, key=key, hash=content)
    version = int(existing["version"]) if existing else await _add(connection, new, by)
    await execute(connection, _POINT, key=key, hash=content)
    await execute(connection, _NEXT_EDITION)
    return version, existing is None


async def _add(connection: Connection, new: NewDefinition, by: str) -> int:
    key, content = new.chart.key, new.chart.hash
    row = await fetch_one(connection, _NEXT_VERSION, key=key)
    version = int(row["version"]) if row else 1
    await execute(
        connection, _ADD, hash=content, key=key, version=version, artifact=new.artifact, source=new.source, by=by
    )
    return version


async def retire_journeys(connection: Connection, keys: Sequence[str]) -> None:
    """Let no new runs begin in these journeys; their open runs go on. The caller has `Lock.CATALOGUE`."""
    if keys:
        await execute(connection, _RETIRE, keys=list(keys))
        await execute(connection, _NEXT_EDITION)


async def live_keys(connection: Connection) -> list[str]:
    """Keys of the journeys in which new runs may begin."""
    return [row["key"] for row in await fetch_all(connection, _LIVE)]


async def definitions_with_open_runs(connection: Connection) -> list[RowDict]:
    """Definitions that open runs use, with their artifacts."""
    return [dict(row) for row in await fetch_all(connection, _OPEN)]
