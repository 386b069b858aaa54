"""Tables of the in-app inbox, its checklists, and clicks on links."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.base import Timestamp, metadata, number

inbox = Table(
    "inbox",
    metadata,
    Column("key", Text, primary_key=True, comment="The message's."),
    number(unique=True),
    Column(
        "ref",
        Uuid(as_uuid=False),
        nullable=False,
        unique=True,
        server_default=func.gen_random_uuid(),
        comment="Its id outside: nobody can guess another's.",
    ),
    Column("recipient", Text, nullable=False),
    Column("content", JSONB, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("seen_at", Timestamp),
    Column("acted_at", Timestamp),
    Column("dismissed_at", Timestamp),
    Column(
        "changed",
        BigInteger,
        nullable=False,
        server_default=text("CAST(CAST(pg_current_xact_id() AS text) AS bigint)"),
        comment="The transaction that changed it last: reading on from the oldest one still running misses nothing.",
    ),
    Column("place", Text, comment="A LIKE pattern of the pages it appears on; null is everywhere."),
    comment="An in-app message.",
)
Index("inbox_of_recipient", inbox.c.recipient, inbox.c.id)
Index("inbox_changed", inbox.c.recipient, inbox.c.changed)

checklist_items = Table(
    "checklist_items",
    metadata,
    Column("inbox_key", Text, ForeignKey("inbox.key", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("recipient", Text, nullable=False),
    Column("signal", Text, nullable=False, comment="The event that ticks it."),
    Column("done_at", Timestamp),
    comment="An item of a checklist in the inbox.",
)
Index(
    "checklist_items_awaited",
    checklist_items.c.recipient,
    checklist_items.c.signal,
    postgresql_where=checklist_items.c.done_at.is_(None),
)

awaited_signals = Table(
    "awaited_signals",
    metadata,
    Column("signal", Text, primary_key=True),
    comment="A signal that some checklist has waited for: an event of another name costs no query.",
)

clicks = Table(
    "clicks",
    metadata,
    Column("message", Text, primary_key=True, comment="Its key."),
    Column("link", Integer, primary_key=True, comment="Which link of the message."),
    Column("first_at", Timestamp, nullable=False),
    Column("last_at", Timestamp, nullable=False),
    Column("times", Integer, nullable=False, server_default=text("1"), comment="Clicks close together count once."),
    comment="A link of a message that was followed.",
)
Index("clicks_last", clicks.c.last_at)
