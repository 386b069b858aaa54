"""Quotas: leaky buckets in PostgreSQL, which all processes share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Interval, bindparam, delete, func, select

from journeys.access.quotas import Charge
from store.database import Connection, execute, fetch_all, sql
from store.schema import quotas

AT_ONCE = 1_000
"""Drained buckets that one statement deletes."""

# The function locks and writes: three statements in one round trip.
_CHARGE = sql("SELECT full_name, wait FROM charge_quotas(:names, :seconds, :within)")
_drained = (
    select(quotas.c.name)
    .where(quotas.c.empty_at < func.clock_timestamp() - bindparam("age", type_=Interval))
    .limit(AT_ONCE)
    .with_for_update(skip_locked=True)
)
_PRUNE = sql(delete(quotas).where(quotas.c.name.in_(_drained)))


async def charge_quotas(connection: Connection, charges: Sequence[Charge]) -> dict[str, float]:
    """Charge buckets, all or none; of full ones, by name, the seconds until they have room. Empty: all are charged."""
    if not charges:
        return {}
    rows = await fetch_all(
        connection,
        _CHARGE,
        names=[charge.name for charge in charges],
        seconds=[charge.seconds for charge in charges],
        within=[charge.within for charge in charges],
    )
    return {row["full_name"]: float(row["wait"]) for row in rows}


async def prune_quotas(connection: Connection, age: timedelta) -> int:
    """Delete buckets that were drained this long ago, at most `AT_ONCE`; the number."""
    return await execute(connection, _PRUNE, age=age)
