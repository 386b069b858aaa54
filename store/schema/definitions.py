"""Tables of published journeys: definitions, the live one of each journey, the edition."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
    true,
)

from store.schema.base import Timestamp, metadata

definitions = Table(
    "definitions",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("journey", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("artifact", Text, nullable=False, comment="Canonical JSON; text, since authored order decides ties."),
    Column("source", Text, nullable=False, comment="The YAML that was published."),
    Column("published_at", Timestamp, nullable=False, server_default=func.now()),
    Column("published_by", Text, nullable=False),
    UniqueConstraint("journey", "version"),
    comment="A published version of a journey; never changed.",
)

journeys = Table(
    "journeys",
    metadata,
    Column("key", Text, primary_key=True),
    Column("hash", Text, ForeignKey("definitions.hash"), nullable=False, comment="The definition that new runs get."),
    Column("live", Boolean, nullable=False, server_default=true(), comment="Whether new runs may begin."),
    comment="A journey and its current definition.",
)

catalogue = Table(
    "catalogue",
    metadata,
    Column("one", Boolean, CheckConstraint("one", name="one"), primary_key=True, server_default=true()),
    Column("edition", BigInteger, nullable=False, server_default=text("1"), comment="Grows with each publication."),
    comment="One row: tells processes that their copy of the live definitions is stale.",
)
