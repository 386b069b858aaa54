"""Tables of exports: audiences, their tools, the feed and its receiver.

The feed is written by a trigger on messages: `store/exports/feed.sql`.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Index, Integer, Table, Text, func, text, true
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.base import TextArray, Timestamp, metadata, number

audiences = Table(
    "audiences",
    metadata,
    Column("audience", Text, primary_key=True),
    Column("subject_key", Text, primary_key=True),
    Column("changed_at", Timestamp, nullable=False),
    Column("member", Boolean, nullable=False),
    Column("journey", Text, comment="The one that put them in, whose kill switch holds for them too."),
    comment="Whether a journey has put a person into an audience or taken them out.",
)
Index("audiences_members", audiences.c.audience, audiences.c.subject_key, postgresql_where=audiences.c.member)

audience_syncs = Table(
    "audience_syncs",
    metadata,
    Column("destination", Text, primary_key=True),
    Column("audience", Text, primary_key=True),
    Column("subject_key", Text, primary_key=True),
    Column("hashed", Text, nullable=False, comment="The identifier the tool was given; empty is out."),
    Column("member", Boolean, nullable=False),
    Column("synced_at", Timestamp, nullable=False),
    Column(
        "digests",
        TextArray,
        nullable=False,
        server_default="{}",
        comment="Hashes under which the address may be suppressed.",
    ),
    comment="What an advertising tool was told last about a person.",
)

feed = Table(
    "feed",
    metadata,
    number(primary_key=True),
    Column("at", Timestamp, nullable=False, server_default=func.clock_timestamp()),
    Column("message", BigInteger, nullable=False, comment="Its id."),
    Column("was", Text, comment="The status before."),
    Column("status", Text, nullable=False),
    Column("decided", Boolean, nullable=False, comment="Whether the gate decided."),
    Column("attempt", Integer, nullable=False),
    Column("channel", Text),
    Column("until", Timestamp),
    Column("reasons", JSONB),
    Column("whole", Text, comment="The key of the digest it became a part of."),
    Column("event", BigInteger, comment="Of a reaction, the id of the event that told it."),
    comment="A change of a message, or a reaction to it; numbered as written, read only behind a horizon.",
)
Index("feed_of_message", feed.c.message)
Index("feed_of_event", feed.c.event, postgresql_where=feed.c.event.is_not(None))

feed_push = Table(
    "feed_push",
    metadata,
    Column("one", Boolean, CheckConstraint("one", name="one"), primary_key=True, server_default=true()),
    Column(
        "position",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="Up to where the receiver has everything.",
    ),
    Column("upto", BigInteger, comment="The end of the batch in hand, fixed before the first attempt."),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("due_at", Timestamp),
    Column("last_error", Text),
    Column("pushed_at", Timestamp),
    comment="One row: how far the feed's receiver is.",
)
