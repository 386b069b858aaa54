"""Table of the progress of retention."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Table, Text, text

from store.schema.base import Timestamp, metadata

retention = Table(
    "retention",
    metadata,
    Column("kind", Text, CheckConstraint("kind IN ('events', 'feed', 'visitors')", name="kind"), primary_key=True),
    Column(
        "upto",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="The last id up to which everything is deleted that may be.",
    ),
    Column(
        "kept_upto",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="Of events, the last one whose message id is kept in message_ids.",
    ),
    Column("kept_at", Timestamp, comment="When that was."),
    Column(
        "after",
        Text,
        nullable=False,
        server_default="",
        comment="Of visitors, the key of the last one that was looked at.",
    ),
    comment="How far retention has come with a kind of rows, one row for each.",
)
