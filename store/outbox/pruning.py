"""Pruning of the outbox: rows delivered long ago are deleted, in slices.

A delivered row is kept for a while: a timer's step reads from it what was accepted before it decides (`undecided.py`). An
account's row is kept until no member's lane lacks it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import Interval, bindparam, delete, exists, func, not_, or_, select

from store.database import Connection, execute, sql
from store.schema import outbox, subjects

KEPT: Final = timedelta(days=7)
"""How long a row is kept after its delivery."""
SLICE: Final = 2_000
"""Rows deleted in one transaction."""

_lacked = exists().where(subjects.c.account_key == outbox.c.recipient, subjects.c.copied_seq < outbox.c.seq)
_expired = (
    select(outbox.c.id)
    .where(
        outbox.c.delivered_at < func.clock_timestamp() - bindparam("kept", type_=Interval),
        or_(outbox.c.for_members.is_(None), not_(_lacked)),
    )
    .order_by(outbox.c.delivered_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
    .cte("expired")
)
_PRUNE = sql(delete(outbox).where(outbox.c.id.in_(select(_expired.c.id))))


async def prune_delivered(connection: Connection) -> int:
    """Delete one slice of rows that were delivered long ago, the oldest first; how many that were."""
    return await execute(connection, _PRUNE, kept=KEPT, most=SLICE)
