"""Tables of API keys, of what public keys have claimed, and of quotas.

A quota is charged by the function `charge_quotas`, in `store/access/charge_quotas.sql`.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, LargeBinary, Table, Text, text
from sqlalchemy.sql.elements import conv

from store.schema.base import TextArray, Timestamp, metadata

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True, comment="k_… and random; it stays when the key is rotated."),
    Column("name", Text, nullable=False, comment="Recorded as `by` of what is done with the key."),
    Column("kind", Text, CheckConstraint("kind IN ('public', 'secret', 'operator')", name="kind"), nullable=False),
    Column("scopes", TextArray, nullable=False, comment="Of an operator's key; others have none."),
    Column("source", Text, nullable=False, comment="Namespace of the message ids of its events."),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of the key; the key itself is stored nowhere."),
    Column("generation", Integer, nullable=False, server_default=text("1"), comment="Grows with each rotation."),
    Column("previous_digest", LargeBinary, comment="The key before the last rotation."),
    Column("previous_until", Timestamp, comment="The previous key is valid until then."),
    Column("made_at", Timestamp, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("rotated_at", Timestamp),
    Column("rotated_by", Text),
    Column("revoked_at", Timestamp),
    Column("revoked_by", Text),
    CheckConstraint("(kind = 'operator') = (cardinality(scopes) > 0)", name=conv("api_keys_scopes_check")),
    comment="An API key, public, secret or an operator's; the keys given by settings are not here.",
)
Index("api_keys_name", api_keys.c.name, unique=True, postgresql_where=api_keys.c.revoked_at.is_(None))

claimed_fields = Table(
    "claimed_fields",
    metadata,
    Column("subject_key", Text, primary_key=True, comment="A visitor."),
    Column("field", Text, primary_key=True, comment="A field of addresses."),
    comment="An address that a public key has given a visitor: it does not become a known user's.",
)

quotas = Table(
    "quotas",
    metadata,
    Column("name", Text, primary_key=True, comment="What is counted, and of whom; addresses as keyed hashes."),
    Column("empty_at", Timestamp, nullable=False, comment="When everything charged so far has drained."),
    prefixes=["UNLOGGED"],
    comment="A leaky bucket. Its rows are lost with a crash of PostgreSQL, and the quotas then begin again.",
)
