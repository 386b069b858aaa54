"""Tables of the transactional outbox: rows for recipients, their lanes, and parked rows."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    and_,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.base import Timestamp, Trace, metadata, number

outbox = Table(
    "outbox",
    metadata,
    number(primary_key=True),
    Column("recipient", Text, nullable=False, comment="The subject whose runs are told."),
    Column("seq", BigInteger, nullable=False, comment="Its order in the lane; negative where it has none (a wake)."),
    Column("kind", Text, nullable=False, comment="The kind of occurrence, or wake."),
    Column("name", Text, nullable=False, server_default=""),
    Column("event_id", Text, nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("data", JSONB, nullable=False, server_default="{}"),
    Column("facts", JSONB, comment="By scope, the fields that journeys read, as of the row's place in the lane."),
    Column("target", Text, comment="The one run it is for; null is every run that listens."),
    Column(
        "for_members",
        JSONB,
        comment="Of an account's row, what its members get of it (`store/outbox/copies.py`); null is nothing.",
    ),
    Column("copy_of", BigInteger, comment="Of a copy in a member's lane, the id of the account's row."),
    Column(
        "urgency",
        SmallInteger,
        nullable=False,
        server_default=text("4"),
        comment="Twice the position of its priority, urgent_support first; one more for a copy (`store/outbox/rows.py`).",
    ),
    Column(
        "turn_at",
        Timestamp,
        nullable=False,
        server_default=text("date_bin('00:00:10'::interval, now(), '2000-01-01 00:00:00+00'::timestamptz)"),
        comment="created_at, rounded down to ten seconds: the age by which lanes are claimed.",
    ),
    Column(
        "rests",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="Its lane rests after a failure: lanes are claimed without looking at it.",
    ),
    Column("clock", Text, comment="The test clock of the recipient, whose driver delivers it; null: the relay does."),
    Column("occurred_at", Timestamp, comment="Of an event that was old when it was accepted, when it happened."),
    Column("created_at", Timestamp, nullable=False, server_default=func.now()),
    Column("delivered_at", Timestamp),
    Column("trace", Trace),
    UniqueConstraint("recipient", "seq"),
    comment="One occurrence for one recipient; kept a while after delivery, since a timer's step asks for it.",
)
_waits = and_(outbox.c.delivered_at.is_(None), outbox.c.clock.is_(None))
Index("outbox_waiting", outbox.c.id, postgresql_where=_waits)
Index("outbox_waiting_of", outbox.c.recipient, outbox.c.seq, postgresql_where=_waits)
Index(
    "outbox_turns",
    outbox.c.urgency,
    outbox.c.turn_at,
    outbox.c.recipient,
    postgresql_where=and_(_waits, outbox.c.rests.is_(False)),
)
Index("outbox_for_members", outbox.c.recipient, outbox.c.seq, postgresql_where=outbox.c.for_members.is_not(None))
Index(
    "outbox_on_clock",
    outbox.c.clock,
    outbox.c.recipient,
    outbox.c.id,
    postgresql_where=and_(outbox.c.delivered_at.is_(None), outbox.c.clock.is_not(None)),
)
Index("outbox_delivered", outbox.c.delivered_at, postgresql_where=outbox.c.delivered_at.is_not(None))

lanes = Table(
    "lanes",
    metadata,
    Column("recipient", Text, primary_key=True),
    Column(
        "ready_at", Timestamp, nullable=False, server_default="-infinity", comment="Not claimed before this instant."
    ),
    Column("attempts", Integer, nullable=False, server_default=text("0"), comment="Failed in a row."),
    Column("last_error", Text),
    comment="The ordered queue of one recipient; the relay claims a lane, never a row, so order holds.",
)
Index("lanes_resting", lanes.c.ready_at, postgresql_where=lanes.c.attempts > 0)

parked = Table(
    "parked",
    metadata,
    number(primary_key=True),
    Column("recipient", Text, nullable=False, comment="The lane that the row was in."),
    Column("seq", BigInteger, nullable=False),
    Column("run", Text, nullable=False, comment="The run that did not get it; empty for a wake."),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("data", JSONB, nullable=False),
    Column("facts", JSONB),
    Column("target", Text),
    Column("trace", Trace),
    Column("opens", Boolean, nullable=False, comment="It is the row that opens the run."),
    Column(
        "code",
        Text,
        CheckConstraint("code IN ('refused', 'unreadable', 'definition', 'version')", name="code"),
        nullable=False,
    ),
    Column("reason", Text, nullable=False),
    Column("parked_at", Timestamp, nullable=False, server_default=func.now()),
    Column(
        "status",
        Text,
        CheckConstraint("status IN ('held', 'replayed', 'discarded')", name="status"),
        nullable=False,
        server_default="held",
    ),
    Column("settled_at", Timestamp),
    Column("settled_by", Text),
    Column("replayed_seq", BigInteger, comment="The place in the lane that a replay gave it."),
    UniqueConstraint("run", "recipient", "seq"),
    comment="A row that can never be delivered to one run, until an operator replays or discards it; its lane goes on.",
)
Index("parked_held", parked.c.id, postgresql_where=parked.c.status == "held")
