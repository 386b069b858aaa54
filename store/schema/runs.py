"""Tables of runs and of the timeline of their decisions."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    and_,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.base import Timestamp, Trace, metadata

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True, comment="The workflow's id."),
    Column("number", BigInteger, Identity(always=True), nullable=False, comment="The order in which runs were opened."),
    Column("journey", Text, nullable=False),
    Column("definition", Text, nullable=False, comment="The hash of the definition it began with and keeps."),
    Column("subject_key", Text, nullable=False, comment="The subject it was opened for; see lane."),
    Column("case_key", Text, nullable=False, server_default="", comment="What it is about, where a journey has cases."),
    Column("epoch", Integer, nullable=False, comment="1 for the first run of this subject and case, then one more."),
    Column("lane", Text, nullable=False, comment="The subject it hears now: the user, once a visitor is merged."),
    Column("entered_seq", BigInteger, nullable=False, comment="The first seq it hears in the lane it began in."),
    Column(
        "joined_seq",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="The same in the lane it was moved to.",
    ),
    Column(
        "compared_seq",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="Up to where its lane has nothing for it that its state does not have; moved by its timers.",
    ),
    Column("clock", Text, comment="The test clock of its subject."),
    Column(
        "priority",
        SmallInteger,
        nullable=False,
        server_default=text("2"),
        comment="The position of its most urgent priority, urgent_support first.",
    ),
    Column(
        "status",
        Text,
        CheckConstraint("status IN ('open', 'closed')", name="status"),
        nullable=False,
        server_default="open",
    ),
    Column("paused", Boolean, nullable=False, server_default=false()),
    Column("state", Text, comment="Null before the first step."),
    Column("visit", Integer, comment="Counts the states entered."),
    Column("outcome", Text, comment="Of a closed run, the final state or why it ended."),
    Column("started_at", Timestamp, nullable=False),
    Column("entered_at", Timestamp, comment="When it entered its state."),
    Column("last_at", Timestamp, comment="The latest instant it has decided."),
    Column("next_due_at", Timestamp, comment="The earliest timer."),
    Column("ended_at", Timestamp),
    Column("step", Integer, nullable=False, server_default=text("0"), comment="The last step that was committed."),
    Column(
        "memory", JSONB, nullable=False, server_default="{}", comment="The whole state (`journeys/decision/state.py`)."
    ),
    UniqueConstraint("journey", "subject_key", "case_key", "epoch"),
    comment="One subject in one journey, inserted in the commit of the event that opens it: the index over workflows.",
)
_open = runs.c.status == "open"
Index("runs_open", runs.c.lane, postgresql_where=_open)
Index("runs_open_of", runs.c.definition, postgresql_where=_open)
Index("runs_of_lane", runs.c.lane, runs.c.journey, runs.c.case_key, runs.c.epoch.desc())
Index("runs_of_subject", runs.c.subject_key)
Index("runs_moved", runs.c.subject_key, postgresql_where=and_(_open, runs.c.lane != runs.c.subject_key))
Index("runs_due", runs.c.next_due_at, postgresql_where=_open)
Index(
    "runs_due_on_clock",
    runs.c.clock,
    runs.c.next_due_at,
    postgresql_where=and_(_open, runs.c.clock.is_not(None)),
)
Index("runs_open_ids", runs.c.id, postgresql_where=_open)  # the sweep compares every open run

sweeps = Table(
    "sweeps",
    metadata,
    Column("name", Text, primary_key=True),
    Column("place", Text, nullable=False, comment="The id after which the next sweep goes on."),
    comment="How far a sweep over many rows has come: a process that ends does not begin it again.",
)

timeline = Table(
    "timeline",
    metadata,
    Column("run", Text, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("n", Integer, primary_key=True, comment="Its place in the step."),
    Column("at", Timestamp, nullable=False),
    Column("recorded_at", Timestamp, nullable=False, server_default=func.now()),
    Column("kind", Text, nullable=False),
    Column("about", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("trace", Trace),
    comment="One line of what a run decided and why.",
)
