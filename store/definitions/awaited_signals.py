"""Signals that checklists wait for."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import exists, select, update
from sqlalchemy.dialects.postgresql import insert

from store.database import Connection, execute, fetch_all, sql
from store.expressions import unnest
from store.schema import awaited_signals as table
from store.schema import catalogue

_new = (
    insert(table)
    .from_select(["signal"], select(unnest("given", signals=table.c.signal)).distinct())
    .on_conflict_do_nothing()
    .returning(table.c.signal)
    .cte("new")
)
_AWAIT = sql(update(catalogue).where(exists().select_from(_new)).values(edition=catalogue.c.edition + 1))
_AWAITED = sql(select(table.c.signal))


async def await_signals(connection: Connection, signals: Sequence[str]) -> None:
    """Store these signals. A new name increments the catalogue's edition."""
    await execute(connection, _AWAIT, signals=list(signals))


async def awaited_signals(connection: Connection) -> frozenset[str]:
    """Every signal that a checklist has ever waited for."""
    return frozenset(row["signal"] for row in await fetch_all(connection, _AWAITED))
