"""Tables of what is published: definitions, journeys, versions of the catalogue, the edition."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
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

catalogue_versions = Table(
    "catalogue_versions",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("hash", Text, nullable=False, comment="SHA-256 of its files' paths and contents."),
    Column("published_at", Timestamp, nullable=False, server_default=func.now()),
    Column("published_by", Text, nullable=False),
    comment="A published version of the catalogue: journeys, templates, policy, plan, consent, team; never changed.",
)

catalogue_files = Table(
    "catalogue_files",
    metadata,
    Column("version", Integer, ForeignKey("catalogue_versions.number"), primary_key=True),
    Column("path", Text, primary_key=True, comment="Relative to the catalogue's folder."),
    Column("content", LargeBinary, nullable=False),
    comment="A file of a version of the catalogue.",
)

catalogue = Table(
    "catalogue",
    metadata,
    Column("one", Boolean, CheckConstraint("one", name="one"), primary_key=True, server_default=true()),
    Column("edition", BigInteger, nullable=False, server_default=text("1"), comment="Grows with each publication."),
    Column(
        "version", Integer, ForeignKey("catalogue_versions.number"), comment="The current version, if one is published."
    ),
    comment="One row: tells processes that their copy of the live definitions is stale.",
)
