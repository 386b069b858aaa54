"""Dead letters: signals that a run could not read, until an operator discards them."""

from __future__ import annotations

from sqlalchemy import bindparam, select, update

from store.database import Connection, fetch_all, fetch_one, sql
from store.expressions import when_given
from store.rows import RowDict
from store.schema import dead_letters

_columns = (
    dead_letters.c.id,
    dead_letters.c.run,
    dead_letters.c.step,
    dead_letters.c.name,
    dead_letters.c.reason,
    dead_letters.c.payload,
    dead_letters.c.recorded_at,
    dead_letters.c.status,
)
_LIST = sql(
    select(*_columns)
    .where(
        dead_letters.c.status == bindparam("status"),
        when_given("run", dead_letters.c.run),
        dead_letters.c.id > bindparam("after"),
    )
    .order_by(dead_letters.c.id)
    .limit(bindparam("limit"))
)
_DISCARD = sql(
    update(dead_letters).where(dead_letters.c.id == bindparam("id")).values(status="discarded").returning(*_columns)
)


async def list_dead_letters(
    connection: Connection, *, status: str, run: str | None, after: int, limit: int
) -> list[RowDict]:
    """Dead letters in the order in which they were recorded."""
    return [dict(row) for row in await fetch_all(connection, _LIST, status=status, run=run, after=after, limit=limit)]


async def discard_dead_letter(connection: Connection, identity: int) -> RowDict | None:
    """Mark a dead letter as discarded; None if there is none. A second time changes nothing."""
    row = await fetch_one(connection, _DISCARD, id=identity)
    return dict(row) if row else None
