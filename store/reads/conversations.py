"""Reads of conversations: one, or the newest of a person."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import and_, bindparam, or_, select

from store.database import Connection, fetch_all, fetch_one, sql
from store.expressions import any_of, array_of, before_given, when_given
from store.people.test_clocks import now_by_clock
from store.rows import RowDict
from store.schema import clocks, conversations, subjects
from store.schema.base import Timestamp

_conversations = select(
    conversations.c.id,
    conversations.c.run,
    conversations.c.recipient,
    conversations.c.message_id,
    conversations.c.journey,
    conversations.c.template,
    conversations.c.channel,
    conversations.c.owner,
    conversations.c.task_id,
    conversations.c.replies,
    conversations.c.opened_at,
    conversations.c.last_at,
    conversations.c.until,
    conversations.c.closed_at,
    conversations.c.closed_by,
)
_now = now_by_clock(bindparam("now", type_=Timestamp))
_open = and_(conversations.c.closed_at.is_(None), conversations.c.until > _now)
_LIST = sql(
    _conversations.outerjoin_from(conversations, subjects, subjects.c.key == conversations.c.recipient)
    .outerjoin(clocks, clocks.c.id == subjects.c.clock)
    .where(
        or_(array_of("keys", conversations.c.recipient).is_(None), any_of(conversations.c.recipient, "keys")),
        when_given("standing", _open),
        before_given(conversations.c.id),
    )
    .order_by(conversations.c.id.desc())
    .limit(bindparam("limit"))
)
_ONE = sql(_conversations.where(conversations.c.id == bindparam("id")))


async def list_conversations(
    connection: Connection,
    *,
    now: datetime,
    keys: list[str] | None = None,
    standing: bool | None = None,
    before: int | None = None,
    limit: int,
) -> list[RowDict]:
    """Conversations, newest first: open ones, ended ones, or both. `now` is the real one."""
    rows = await fetch_all(connection, _LIST, now=now, keys=keys, standing=standing, before=before, limit=limit)
    return [dict(row) for row in rows]


async def get_conversation(connection: Connection, identity: int) -> RowDict | None:
    """One conversation; None if there is none with this number."""
    row = await fetch_one(connection, _ONE, id=identity)
    return dict(row) if row else None
