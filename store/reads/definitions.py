"""Reads of published journeys, their versions, and the open runs of each."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, FromClause, Select, bindparam, func, literal, literal_column, select

from store.database import Connection, fetch_all, fetch_one, sql
from store.expressions import before_given
from store.locks import Lock, lock_until_commit
from store.rows import RowDict
from store.schema import definitions, journeys, runs

COUNTED_IN_LISTS: Final = 1_000
"""Open runs of each row of a list are counted up to this number: a page costs the same with a million of them."""
COUNTED_ALONE: Final = 100_000
"""The same for a journey that is read alone."""
_of = definitions.alias("of")


def _open_runs(of: ColumnElement[bool], table: FromClause, most: int) -> ColumnElement[Any]:
    """Open runs of the definitions `of` a row of `table`, counted in their index up to `most`."""
    counted = (
        select(literal(1))
        .join_from(_of, runs, runs.c.definition == _of.c.hash)
        .where(of, runs.c.status == "open")
        .limit(literal_column(str(most)))
        .correlate(table)
        .subquery("counted")
    )
    return select(func.count()).select_from(counted).scalar_subquery().label("open_runs")


def _current(most_counted: int) -> Select[Any]:
    return select(
        journeys.c.key,
        definitions.c.hash,
        definitions.c.version,
        journeys.c.live,
        definitions.c.published_at,
        definitions.c.published_by,
        _open_runs(_of.c.journey == journeys.c.key, journeys, most_counted),
    ).join_from(journeys, definitions, definitions.c.hash == journeys.c.hash)


_LIST = sql(
    _current(COUNTED_IN_LISTS)
    .where(journeys.c.key > bindparam("after"))
    .order_by(journeys.c.key)
    .limit(bindparam("limit"))
)
_GET = sql(
    _current(COUNTED_ALONE)
    .add_columns(definitions.c.artifact, definitions.c.source)
    .where(journeys.c.key == bindparam("key"))
)
_VERSIONS = sql(
    select(
        definitions.c.version,
        definitions.c.hash,
        definitions.c.published_at,
        definitions.c.published_by,
        (journeys.c.hash == definitions.c.hash).label("current"),
        _open_runs(_of.c.hash == definitions.c.hash, definitions, COUNTED_IN_LISTS),
    )
    .outerjoin_from(definitions, journeys, journeys.c.key == definitions.c.journey)
    .where(definitions.c.journey == bindparam("key"), before_given(definitions.c.version))
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
