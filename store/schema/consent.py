"""Tables of consent, double opt-in, suppressed addresses and opt-out texts.

The log is append-only by a trigger, and an address has a lock: `store/consent/consent_log.sql`, `address_lock.sql`.
"""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, Index, Table, Text, false, func, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.elements import conv

from store.schema.base import Timestamp, metadata, number

_BY = "by IN ('company', 'operator', 'person')"

consents = Table(
    "consents",
    metadata,
    Column("subject_key", Text, primary_key=True),
    Column("channel", Text, primary_key=True, comment="Or * for all."),
    Column("topic", Text, primary_key=True, comment="Or * for all."),
    Column(
        "by",
        Text,
        CheckConstraint(_BY, name="by"),
        primary_key=True,
        server_default="company",
        comment="Whose statement it is.",
    ),
    Column("granted", Boolean, comment="Null: what was said before is taken back."),
    Column("in_force", Boolean, nullable=False, server_default=true(), comment="It counts for this channel and topic."),
    Column("source", Text, nullable=False),
    Column("at", Timestamp, nullable=False, comment="When it was said, by the person's clock."),
    Column("wording", Text, nullable=False, server_default="", comment="What they were shown."),
    Column(
        "address", Text, comment="A keyed hash of the address at which it was confirmed; it counts for that one only."
    ),
    CheckConstraint("granted IS NOT NULL OR NOT in_force", name=conv("consents_check")),
    comment="The newest statement of each kind of author about a channel and a topic, and which of them is in force.",
)

consent_log = Table(
    "consent_log",
    metadata,
    number(primary_key=True),
    Column("subject_key", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("granted", Boolean, comment="Null: what was said before is taken back."),
    Column(
        "pending",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="A yes that is none before its link is confirmed.",
    ),
    Column("source", Text, nullable=False),
    Column("wording", Text, nullable=False, server_default=""),
    Column("proof", JSONB, nullable=False, server_default="{}", comment="Who or what vouches for it; names nobody."),
    Column("at", Timestamp, nullable=False, comment="When it was said, by the person's clock."),
    Column("by", Text, CheckConstraint(_BY, name="by"), nullable=False, server_default="company"),
    Column(
        "effect",
        Text,
        CheckConstraint("effect IN ('applied', 'waits', 'stale', 'late', 'protected')", name="effect"),
        nullable=False,
        server_default="applied",
        comment="What it changed; only what is applied counts.",
    ),
    Column("unreadable", Text, comment="Why an opt-out was taken in its widest meaning."),
    Column("recorded_at", Timestamp, nullable=False, server_default=func.clock_timestamp()),
    CheckConstraint("granted OR NOT pending", name=conv("consent_log_check")),
    comment="Everything that was ever said; append-only by a trigger.",
)
Index("consent_log_of_subject", consent_log.c.subject_key, consent_log.c.id)
Index(
    "consent_log_listed",
    consent_log.c.effect,
    consent_log.c.id,
    postgresql_where=consent_log.c.effect != "applied",
)
Index("consent_log_unreadable", consent_log.c.id, postgresql_where=consent_log.c.unreadable.is_not(None))

consent_requests = Table(
    "consent_requests",
    metadata,
    number(primary_key=True),
    Column("subject_key", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("wording", Text, nullable=False),
    Column("proof", JSONB, nullable=False),
    Column("at", Timestamp, nullable=False, comment="When the yes was said, by the person's clock."),
    Column(
        "asked_at",
        Timestamp,
        nullable=False,
        server_default=func.now(),
        comment="When its link was sent, by the person's clock.",
    ),
    Column("confirmed_at", Timestamp),
    Column("refused_at", Timestamp),
    Column("address", Text, comment="A keyed hash of the address that the link goes to."),
    comment="A yes that waits for its confirmation (double opt-in).",
)
Index(
    "consent_requests_open",
    consent_requests.c.subject_key,
    postgresql_where=consent_requests.c.confirmed_at.is_(None) & consent_requests.c.refused_at.is_(None),
)

address_consents = Table(
    "address_consents",
    metadata,
    Column(
        "digest", Text, primary_key=True, comment="A keyed hash of the address, which outlives its people's erasure."
    ),
    Column("clock", Text, primary_key=True, server_default="", comment="The test clock of those who said it."),
    Column("topic", Text, primary_key=True, comment="Or * for all."),
    Column("granted", Boolean, comment="Null: what was said before is taken back."),
    Column("source", Text, nullable=False),
    Column("at", Timestamp, nullable=False),
    comment="What people themselves have said last about a topic at an address; an opt-out holds for everybody there.",
)

suppressions = Table(
    "suppressions",
    metadata,
    number(primary_key=True),
    Column("digest", Text, nullable=False, comment="A keyed hash of the address, which outlives the person's erasure."),
    Column("channel", Text, nullable=False),
    Column(
        "reason",
        Text,
        CheckConstraint(
            "reason IN ('hard_bounce', 'soft_bounces', 'complaint', 'stop_word', 'operator')", name="reason"
        ),
        nullable=False,
    ),
    Column("source", Text, nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("ends_at", Timestamp, comment="When it ends by itself, after temporary bounces."),
    Column("lifted_at", Timestamp),
    Column("lifted_by", Text),
    comment="An address that nothing is sent to until it is lifted or has ended.",
)
Index("suppressions_in_force", suppressions.c.digest, unique=True, postgresql_where=suppressions.c.lifted_at.is_(None))
Index("suppressions_digest", suppressions.c.digest)

soft_bounces = Table(
    "soft_bounces",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("reference", Text, primary_key=True, comment="The message that bounced."),
    Column("at", Timestamp, nullable=False),
    comment="A temporary bounce; several suppress the address.",
)

inbound_texts = Table(
    "inbound_texts",
    metadata,
    Column("source", Text, primary_key=True),
    Column("message_id", Text, primary_key=True, comment="The provider's id of the text."),
    Column("at", Timestamp, nullable=False, server_default=func.now()),
    comment="A text with an opt-out or opt-in keyword that was acted on; never pruned, since its signature never expires.",
)
