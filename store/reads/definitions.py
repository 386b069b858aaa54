"""Reads of published journeys, their versions, and the open runs of each."""

from __future__ import annotations

import operator
from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, select

from store.database import Connection, fetch_all, fetch_one, sql
from store.expressions import when_given
from store.locks import Lock, lock_until_commit
from store.rows import RowDict
from store.schema import definitions, journeys, runs


def _open_runs(*conditions: ColumnElement[bool]) -> ColumnElement[Any]:
    return select(func.count()).where(*conditions, runs.c.status == "open").scalar_subquery().label("open_runs")


_current = select(
    journeys.c.key,
    definitions.c.hash,
    definitions.c.version,
    journeys.c.live,
    definitions.c.published_at,
    definitions.c.published_by,
    _open_runs(runs.c.journey == journeys.c.key),
).join_from(journeys, definitions, definitions.c.hash == journeys.c.hash)
_LIST = sql(_current.where(journeys.c.key > bindparam("after")).order_by(journeys.c.key).limit(bindparam("limit")))
_GET = sql(_current.add_columns(definitions.c.artifact, definitions.c.source).where(journeys.c.key == bindparam("key")))
_VERSIONS = sql(
    select(
        definitions.c.version,
        definitions.c.hash,
        definitions.c.published_at,
        definitions.c.published_by,
        (journeys.c.hash == definitions.c.hash).label("current"),
        _open_runs(runs.c.journey == definitions.c.journey, runs.c.definition == definitions.c.hash),
    )
    .outerjoin_from(definitions, journeys, journeys.c.key == definitions.c.journey)
    .where(definitions.c.journey == bindparam("key"), when_given("before", definitions.c.version, operator.lt))
    .order_by(definitions.c.version.desc())
    .limit(bindparam("limit"))
)
_live = (
    select(definitions.c.artifact)
    .join_from(journeys, definitions, definitions.c.hash == journeys.c.hash)
    .where(journeys.c.live)
    .order_by(journeys.c.key)
)
_LIVE = sql(_live)
_OTHERS_LIVE = sql(_live.where(journeys.c.key != bindparam("key")))


async def lock_publishing(connection: Connection) -> None:
    """Lock out other publications over the API until this transaction ends, so that what was read stays true."""
    await lock_until_commit(connection, Lock.PUBLISH)


async def list_journeys(connection: Connection, after: str, limit: int) -> list[RowDict]:
    """Published journeys by key."""
    return [dict(row) for row in await fetch_all(connection, _LIST, after=after, limit=limit)]


async def get_journey(connection: Connection, key: str) -> RowDict | None:
    """One journey in its current version, with its source and its artifact."""
    row = await fetch_one(connection, _GET, key=key)
    return dict(row) if row else None


async def list_versions(connection: Connection, key: str, before: int | None, limit: int) -> list[RowDict]:
    """All versions of a journey, newest first."""
    return [dict(row) for row in await fetch_all(connection, _VERSIONS, key=key, before=before, limit=limit)]


async def live_artifacts(connection: Connection) -> list[str]:
    """The artifacts of the live definitions."""
    return [row["artifact"] for row in await fetch_all(connection, _LIVE)]


async def other_live_artifacts(connection: Connection, key: str) -> list[str]:
    """The artifacts of every other live journey, to check that none contradicts this one."""
    return [row["artifact"] for row in await fetch_all(connection, _OTHERS_LIVE, key=key)]
