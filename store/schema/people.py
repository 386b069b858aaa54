"""Tables of people and accounts: subjects, identities, memberships, declared fields, test clocks."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Table, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.base import Timestamp, metadata

subjects = Table(
    "subjects",
    metadata,
    Column("key", Text, primary_key=True, comment="u_… or a_… and random: nothing personal, and stable over merges."),
    Column("kind", Text, CheckConstraint("kind IN ('user', 'account')", name="kind"), nullable=False),
    Column("seq", BigInteger, nullable=False, server_default=text("0"), comment="The last seq given in its lane."),
    Column(
        "decided_at",
        Timestamp,
        comment="Up to where one of its runs has decided timers; no event is accepted before it.",
    ),
    Column("clock", Text, comment="The test clock it belongs to; null is the real clock."),
    Column(
        "profile", JSONB, nullable=False, server_default="{}", comment="Traits, as identify and group calls gave them."
    ),
    Column(
        "origins",
        JSONB,
        nullable=False,
        server_default="{}",
        comment="By field, when its newest statement was made and accepted (microseconds since 1970), by which source.",
    ),
    Column("account_key", Text, comment="Of a person, the account they were put into last."),
    Column(
        "members_seq",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="Of an account, the seq of its last row that is for its members.",
    ),
    Column("behind_since", Timestamp, comment="Of an account, since when rows wait to be copied to members."),
    Column(
        "copied_seq",
        BigInteger,
        comment="Of a person with open runs, the seq up to which rows of their account are copied into their lane.",
    ),
    Column(
        "member_number",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="Of an account, how many people were put into it so far; of a person, their number among them.",
    ),
    Column("merged_into", Text, comment="The known user that this visitor turned out to be."),
    Column("created_at", Timestamp, nullable=False, server_default=func.now()),
    Column("updated_at", Timestamp, nullable=False, server_default=func.now()),
    Column(
        "leaving_since",
        Timestamp,
        comment="Of a visitor of whom nothing is left, since when events that name them lock them: they are deleted.",
    ),
    comment="A person or an account.",
)
Index("subjects_of_account", subjects.c.account_key, postgresql_where=subjects.c.account_key.is_not(None))
Index(
    "subjects_to_copy",
    subjects.c.account_key,
    subjects.c.copied_seq,
    subjects.c.member_number,
    postgresql_where=subjects.c.copied_seq.is_not(None),
)
Index("subjects_behind", subjects.c.behind_since, postgresql_where=subjects.c.behind_since.is_not(None))
Index("subjects_on_clock", subjects.c.clock, subjects.c.key, postgresql_where=subjects.c.clock.is_not(None))
Index("subjects_merged", subjects.c.merged_into, postgresql_where=subjects.c.merged_into.is_not(None))
Index(
    "subjects_by_phone",  # digits only: numbers are written in many ways
    func.regexp_replace(subjects.c.profile["phone"].astext, "[^0-9]", "", "g"),
    postgresql_where=subjects.c.profile["phone"].astext.is_not(None),
)

identities = Table(
    "identities",
    metadata,
    Column("kind", Text, primary_key=True, comment="user_id, anonymous_id or account_id."),
    Column("value", Text, primary_key=True),
    Column("subject_key", Text, nullable=False),
    comment="A name by which events mean a subject.",
)
Index("identities_of_subject", identities.c.subject_key)

members = Table(
    "members",
    metadata,
    Column("account_key", Text, primary_key=True),
    Column("person_key", Text, primary_key=True),
    Column("since", Timestamp, nullable=False, server_default=func.clock_timestamp()),
    comment="A person in an account; they may be in several.",
)
Index("members_person", members.c.person_key)

declared_fields = Table(
    "declared_fields",
    metadata,
    Column("owner", Text, CheckConstraint("owner IN ('profile', 'account')", name="owner"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column(
        "after", Text, nullable=False, server_default="", comment="The key of the last subject filled from kept events."
    ),
    Column("filled_at", Timestamp, comment="When it was last filled for everybody; null while it is being filled."),
    Column("began_at", Timestamp, comment="When its last filling began."),
    Column("dropped_from", Timestamp, comment="Since when values may be left out that no filling has looked at."),
    Column("dropped_at", Timestamp, comment="When a value was last left out, by a process whose plan lacks the field."),
    comment="A field that some tracking plan of this deployment has declared.",
)

clocks = Table(
    "clocks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("now", Timestamp, nullable=False, comment="The instant that its subjects live by."),
    Column("target", Timestamp, nullable=False, comment="The instant that it is advanced to; now while it stands."),
    Column(
        "status",
        Text,
        CheckConstraint("status IN ('ready', 'advancing', 'stuck')", name="status"),
        nullable=False,
        server_default="ready",
    ),
    Column("error", Text, comment="Of stuck: what does not end, and why."),
    Column(
        "progressed_at",
        Timestamp,
        nullable=False,
        server_default=func.clock_timestamp(),
        comment="The real instant of the last change of this row.",
    ),
    CheckConstraint("target >= now", name="target"),
    CheckConstraint("status <> 'ready' OR target = now", name="ready"),
    CheckConstraint("(status = 'stuck') = (error IS NOT NULL)", name="error"),
    comment="A test clock: it stands still until it is advanced.",
)
