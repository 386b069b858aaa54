"""Soft bounces of addresses, counted within the time of the rule."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from journeys.consent.rules import SoftBounces
from store.database import Connection, execute, fetch_one, sql
from store.expressions import any_of
from store.schema import soft_bounces

_NOTE = sql(
    insert(soft_bounces)
    .values(digest=bindparam("digest"), reference=bindparam("reference"), at=bindparam("at"))
    .on_conflict_do_nothing()
)
_COUNT = sql(
    select(func.count().label("n")).where(
        any_of(soft_bounces.c.digest, "digests"),
        soft_bounces.c.at > bindparam("since"),
        soft_bounces.c.at <= bindparam("at"),
    )
)
_FORGET = sql(
    delete(soft_bounces).where(any_of(soft_bounces.c.digest, "digests"), soft_bounces.c.at <= bindparam("until"))
)


async def count(
    connection: Connection, digests: Sequence[str], rules: SoftBounces, reference: str, at: datetime
) -> bool:
    """Count a soft bounce; whether its address has reached the limit. A `reference` counts once, the address under any hash."""
    since = at - rules.within.at_most()
    await forget(connection, digests, until=since)
    await execute(connection, _NOTE, digest=digests[0], reference=reference, at=at)
    row = await fetch_one(connection, _COUNT, digests=list(digests), since=since, at=at)
    return row is not None and row["n"] >= rules.limit


async def forget(connection: Connection, digests: Sequence[str], until: datetime) -> None:
    """Delete the bounces of an address until an instant: they count no more."""
    await execute(connection, _FORGET, digests=list(digests), until=until)
