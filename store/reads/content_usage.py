"""Reads of how often content was sent, by template and journey (C9)."""

from __future__ import annotations

from sqlalchemy import func, select

from store.database import Connection, fetch_all, sql
from store.rows import RowDict
from store.schema import messages

_USES = sql(
    select(
        messages.c.template,
        messages.c.journey,
        func.count().label("sent"),
        func.max(messages.c.sent_at).label("last_at"),
    )
    .where(messages.c.status == "sent")
    .group_by(messages.c.template, messages.c.journey)
    .order_by(messages.c.template, messages.c.journey)
)


async def uses_of_template(connection: Connection) -> list[RowDict]:
    """Messages sent, by template and journey. Reads the whole ledger: call it once a minute at most."""
    return [dict(row) for row in await fetch_all(connection, _USES)]
