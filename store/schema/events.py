"""Tables of accepted, quarantined and unreadable events, of message ids, and of urgent tickets."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, LargeBinary, Table, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.base import TextArray, Timestamp, Trace, metadata, number

events = Table(
    "events",
    metadata,
    number(primary_key=True),
    Column("source", Text, nullable=False, comment="The sender that message_id is unique for."),
    Column("message_id", Text, nullable=False),
    Column("kind", Text, nullable=False, comment="track, identify, group or alias."),
    Column("name", Text, nullable=False),
    Column("subject_key", Text, nullable=False),
    Column(
        "at", Timestamp, nullable=False, comment="The instant journeys reckon with; not before subjects.decided_at."
    ),
    Column(
        "occurred_at",
        Timestamp,
        comment="When it happened, by its sender's corrected clock and at any age; null: as `at`.",
    ),
    Column("received_at", Timestamp, nullable=False),
    Column("data", JSONB, nullable=False),
    Column("context", JSONB),
    Column("trace", Trace, comment="Only where it is another event's; else computed from id, source and message_id."),
    Column("content", LargeBinary, comment="Hash of what its sender wrote; null: whatever has its id is a repetition."),
    Column("account_key", Text, comment="Of a group call, the account whose fields it gives."),
    UniqueConstraint("source", "message_id"),
    comment="An accepted event, once for each source and message id.",
)
Index("events_of_subject", events.c.subject_key, events.c.id)
Index("events_of_account", events.c.account_key, events.c.id, postgresql_where=events.c.account_key.is_not(None))
Index("events_of_trace", events.c.trace, postgresql_where=events.c.trace.is_not(None))

message_ids = Table(
    "message_ids",
    metadata,
    Column("digest", LargeBinary, primary_key=True, comment="Hash of source and message id."),
    Column("content", LargeBinary, comment="As in events."),
    Column("accepted_at", Timestamp, nullable=False),
    comment="The message id of an event that retention has deleted, or is about to.",
)
Index("message_ids_accepted", message_ids.c.accepted_at)

quarantine = Table(
    "quarantine",
    metadata,
    number(primary_key=True),
    Column("source", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("key_id", Text, nullable=False, server_default="write", comment="The API key it came with."),
    Column("name", Text, nullable=False),
    Column("faults", JSONB, nullable=False),
    Column("event", JSONB, nullable=False),
    Column("received_at", Timestamp, nullable=False),
    Column(
        "status",
        Text,
        CheckConstraint("status IN ('held', 'replayed', 'discarded')", name="status"),
        nullable=False,
        server_default="held",
    ),
    Column("settled_at", Timestamp),
    Column(
        "content",
        LargeBinary,
        nullable=False,
        server_default=text("''::bytea"),
        comment="Hash of what its sender wrote.",
    ),
    Column(
        "named",
        TextArray,
        nullable=False,
        server_default="{}",
        comment="The ids of people and accounts in it, with their kind (`journeys/events/held_events.py`).",
    ),
    UniqueConstraint("source", "message_id", "content"),
    comment="An event that cannot be accepted, until an operator replays or discards it.",
)
Index("quarantine_held", quarantine.c.id, postgresql_where=quarantine.c.status == "held")
Index(
    "quarantine_named",
    quarantine.c.named,
    postgresql_using="gin",
    postgresql_where=quarantine.c.status == "held",
)

dead_letters = Table(
    "dead_letters",
    metadata,
    number(primary_key=True),
    Column("run", Text, nullable=False),
    Column("step", Integer, nullable=False),
    Column("n", Integer, nullable=False, comment="Its place among those of the step."),
    Column("name", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("recorded_at", Timestamp, nullable=False, server_default=func.now()),
    Column("status", Text, nullable=False, server_default="held", comment="held or discarded."),
    UniqueConstraint("run", "step", "n"),
    comment="A signal that reached a run and could not be read there.",
)

tickets = Table(
    "tickets",
    metadata,
    Column("subject_key", Text, primary_key=True),
    Column("ticket_id", Text, primary_key=True),
    Column("opened_at", Timestamp, nullable=False),
    Column("resolved_at", Timestamp),
    Column("ends_at", Timestamp, nullable=False, comment="It counts no more from then on, also if its end was lost."),
    comment="An urgent ticket of a person or an account; the gate waits while one is open.",
)
Index("tickets_by_end", tickets.c.ends_at)
Index("tickets_open", tickets.c.ends_at, postgresql_where=tickets.c.resolved_at.is_(None))
