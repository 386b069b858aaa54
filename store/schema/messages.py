"""Tables of the gate: the ledger of messages, kill switches, holds.

What the gate reads of a person is the function `gate_reads`, in `store/messages/gate_read.sql`.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    and_,
    false,
    func,
    or_,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.elements import conv

from store.schema.base import TextArray, Timestamp, Trace, metadata, number

messages = Table(
    "messages",
    metadata,
    Column("key", Text, primary_key=True, comment="Names run, visit and action, or a digest: sent once for each key."),
    number(unique=True),
    Column("run", Text, nullable=False),
    Column("step", Integer, nullable=False, comment="The run's step that asked for it."),
    Column("subject_key", Text, nullable=False, comment="The run's subject: a person, or an account."),
    Column("recipient", Text, nullable=False, comment="The person."),
    Column("journey", Text, nullable=False),
    Column("state", Text, nullable=False, comment="The state it was asked for in."),
    Column("visit", Integer, nullable=False, comment="The visit of that state."),
    Column("action", Text, nullable=False),
    Column("template", Text, nullable=False),
    Column("via", JSONB, nullable=False, comment="Channels, the preferred one first."),
    Column("topic", Text),
    Column("priority", Text, nullable=False),
    Column("data", JSONB, nullable=False, server_default="{}", comment="What the template is rendered with."),
    Column(
        "stands",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="Not withdrawn when the run leaves the state.",
    ),
    Column("at", Timestamp, nullable=False, comment="When it was asked for."),
    Column("expires_at", Timestamp, comment="Useless after this instant."),
    Column(
        "status",
        Text,
        CheckConstraint(
            "status IN ('deferred', 'sending', 'sent', 'failed', 'unknown', 'withheld', 'withdrawn', 'merged', 'replaced')",
            name="status",
        ),
        nullable=False,
    ),
    Column("reasons", JSONB, nullable=False, server_default="[]", comment="The gate's, the decisive one first."),
    Column("channel", Text),
    Column("due_at", Timestamp, comment="Of deferred: when it is decided again."),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("lease_until", Timestamp, comment="Of sending: whose end is unknown after this instant."),
    Column("reference", Text, comment="The provider's id of it."),
    Column("address", Text),
    Column("address_hash", Text, comment="Of an address that several people may have: it counts for all of them."),
    Column("body", LargeBinary, comment="The rendered bytes, which every attempt sends."),
    Column("summary", JSONB, comment="Subject, variant, links and the like, with the version of the catalogue."),
    Column("detail", Text, comment="What the provider said."),
    Column("decided_at", Timestamp, nullable=False, comment="When the gate decided last."),
    Column("first_attempt_at", Timestamp, comment="Retries end by it."),
    Column("sent_at", Timestamp, comment="Counts for caps from this instant."),
    Column("settled_at", Timestamp),
    Column("ready_at", Timestamp, comment="When nothing but consolidation held it any more."),
    Column("merged_into", Text, comment="The key of the digest it went out in."),
    Column("clock", Text, comment="The test clock of its run and recipient."),
    Column("in_doubt", Boolean, nullable=False, server_default=false(), comment="An attempt may have arrived."),
    Column("trace", Trace),
    comment="The ledger: nothing leaves before its row says sending.",
)
_COUNTED = ("sending", "sent", "unknown", "merged")
_doubted = and_(messages.c.status == "deferred", messages.c.in_doubt)
_unsettled = messages.c.status.in_(("deferred", "sending"))
Index("messages_of_run", messages.c.run)
Index("messages_of_recipient", messages.c.recipient, messages.c.id)
Index(
    "messages_counted",
    messages.c.recipient,
    messages.c.sent_at,
    postgresql_where=or_(messages.c.status.in_(_COUNTED), _doubted),
)
Index(
    "messages_to_address",
    messages.c.address_hash,
    messages.c.sent_at,
    postgresql_where=and_(messages.c.address_hash.is_not(None), or_(messages.c.status.in_(_COUNTED), _doubted)),
)
Index("messages_due", messages.c.recipient, messages.c.due_at, postgresql_where=_unsettled)
Index(
    "messages_by_status",
    messages.c.status,
    messages.c.id,
    postgresql_where=messages.c.status.not_in(("sending", "sent")),  # the first are few, the second are most
)
Index("messages_parts", messages.c.merged_into, postgresql_where=messages.c.merged_into.is_not(None))
Index(
    "messages_by_journey",
    messages.c.journey,
    messages.c.sent_at,
    postgresql_where=and_(messages.c.sent_at.is_not(None), messages.c.clock.is_(None)),
)
Index("messages_on_clock", messages.c.clock, postgresql_where=and_(_unsettled, messages.c.clock.is_not(None)))
Index(
    "messages_by_reference",
    messages.c.reference,
    postgresql_where=and_(messages.c.reference.is_not(None), messages.c.channel != "in_app"),
)
Index(
    "messages_by_address",
    messages.c.channel,
    messages.c.address,
    messages.c.id,
    postgresql_where=messages.c.channel.in_(("sms", "webinar")),
)
Index("messages_of_trace", messages.c.trace, postgresql_where=messages.c.trace.is_not(None))

stops = Table(
    "stops",
    metadata,
    number(primary_key=True),
    Column(
        "scope",
        Text,
        CheckConstraint("scope IN ('all', 'channel', 'journey', 'template')", name="scope"),
        nullable=False,
    ),
    Column("name", Text, nullable=False, server_default="", comment="Which channel, journey or template."),
    Column("why", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", Timestamp, nullable=False, server_default=func.clock_timestamp()),
    Column("released_at", Timestamp),
    Column("released_by", Text),
    CheckConstraint("(scope = 'all') = (name = '')", name=conv("stops_check")),
    comment="A kill switch; in force until it is released.",
)
Index("stops_thrown", stops.c.scope, stops.c.name, unique=True, postgresql_where=stops.c.released_at.is_(None))

sender_refusals = Table(
    "sender_refusals",
    metadata,
    number(primary_key=True),
    Column("channel", Text, nullable=False),
    Column("code", Text, nullable=False, comment="The provider's code, without its words."),
    Column("times", Integer, nullable=False, server_default=text("1")),
    Column(
        "places",
        TextArray,
        nullable=False,
        server_default="{}",
        comment="Keyed hashes of the recipients' domains, the first 20.",
    ),
    Column(
        "recent", Integer, nullable=False, server_default=text("1"), comment="Refused messages since `recent_since`."
    ),
    Column("recent_since", Timestamp, nullable=False, server_default=func.clock_timestamp()),
    Column("opened_at", Timestamp, nullable=False, server_default=func.clock_timestamp()),
    Column("last_at", Timestamp, nullable=False, server_default=func.clock_timestamp()),
    Column("stopped_at", Timestamp, comment="When it engaged the channel's kill switch."),
    Column("closed_at", Timestamp),
    Column("closed_by", Text),
    comment="A provider refuses us, not a recipient; open until it is closed.",
)
Index(
    "sender_refusals_open",
    sender_refusals.c.channel,
    sender_refusals.c.code,
    unique=True,
    postgresql_where=sender_refusals.c.closed_at.is_(None),
)

holds = Table(
    "holds",
    metadata,
    number(primary_key=True),
    Column("subject_key", Text, nullable=False, comment="A person, or an account with everybody in it."),
    Column("clock", Text),
    Column("since", Timestamp, nullable=False),
    Column("until", Timestamp, nullable=False, comment="It ends by itself."),
    Column("by", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("released_at", Timestamp),
    Column("released_by", Text),
    comment="A team member looks after a subject in person: automation waits.",
)
Index("holds_standing", holds.c.subject_key, unique=True, postgresql_where=holds.c.released_at.is_(None))
