"""Pruning of the outbox: rows delivered long ago are deleted, in slices.

A delivered row is kept for a while: a timer's step reads from it what was accepted before it decides (`undecided.py`). An
account's row is kept until no member's lane lacks it.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import any_, bindparam, delete, exists, func, not_, or_, select

from store.database import Connection, execute, sql
from store.retention.periods import SLICE, Slice
from store.schema import outbox, subjects

_lacked = exists().where(subjects.c.account_key == outbox.c.recipient, subjects.c.copied_seq < outbox.c.seq)
_expired = (
    select(outbox.c.id)
    .where(
        outbox.c.delivered_at < bindparam("before"),
        or_(outbox.c.for_members.is_(None), not_(_lacked)),
    )
    .order_by(outbox.c.delivered_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
    .cte("expired")
)
_PRUNE = sql(delete(outbox).where(outbox.c.id == any_(func.array(select(_expired.c.id).scalar_subquery()))))


async def prune_delivered(connection: Connection, before: datetime) -> Slice:
    """Delete one slice of rows that were delivered before an instant, the oldest first."""
    deleted = await execute(connection, _PRUNE, before=before, most=SLICE)
    return Slice(deleted, more=deleted == SLICE)
