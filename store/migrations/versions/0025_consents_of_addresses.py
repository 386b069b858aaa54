"""An opt-out, caps and cooldowns hold for an address too.

Messages sent before have no hash of their address: they count for their recipients only. `gate_reads` locks the addresses
that several people may have exclusively.

Revision ID: 0025
Revises: 0024
"""

from __future__ import annotations

from alembic import op

from store.migrations.functions import replace_in_function

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_BEFORE = (
    ("digests text[], at timestamp with time zone)", "digests text[], at timestamp with time zone, counted text[])"),
    ("talks json, accounts text[])", "talks json, accounts text[], refused json)"),
    ("DECLARE theirs text[];", "DECLARE theirs text[]; on_clock text;"),
    (
        "PERFORM 1 FROM subjects s WHERE s.key = person FOR UPDATE;",
        "SELECT s.clock INTO on_clock FROM subjects s WHERE s.key = person FOR UPDATE;",
    ),
    (
        "PERFORM pg_advisory_xact_lock_shared(address_lock(d)) FROM (SELECT unnest(digests) AS d ORDER BY 1) AS sorted;",
        """PERFORM CASE WHEN d = ANY (counted) THEN pg_advisory_xact_lock(address_lock(d))
               ELSE pg_advisory_xact_lock_shared(address_lock(d)) END
  FROM (SELECT unnest(digests) AS d ORDER BY 1) AS sorted;""",
    ),
    ("m.subject_key, m.key, m.merged_into IS NOT NULL))", "m.subject_key, m.key, m.merged_into IS NOT NULL, m.recipient <> person))"),
    (
        """FROM messages m WHERE m.recipient = person AND m.sent_at > since
       AND (m.status IN ('sending', 'sent', 'unknown', 'merged') OR (m.status = 'deferred' AND m.in_doubt))),""",
        """FROM messages m WHERE (m.recipient = person AND m.sent_at > since
         OR m.address_hash = ANY (counted) AND m.sent_at > since AND m.clock IS NOT DISTINCT FROM on_clock)
       AND (m.status IN ('sending', 'sent', 'unknown', 'merged') OR (m.status = 'deferred' AND m.in_doubt))),""",
    ),
    (
        "    theirs;\nEND",
        """    theirs,
    (SELECT json_agg(json_build_array(r.digest, r.topic)) FROM address_consents r
     WHERE r.digest = ANY (counted) AND r.clock = coalesce(on_clock, '') AND NOT r.granted);
END""",
    ),
)  # fmt: skip
_OLD = "text, text, timestamptz, text[], timestamptz"
_NEW = "text, text, timestamptz, text[], timestamptz, text[]"


def upgrade() -> None:
    """Add the table, the column and its index, then have the gate read them."""
    op.execute(
        """
        CREATE TABLE address_consents (
          digest text NOT NULL, clock text NOT NULL DEFAULT '', topic text NOT NULL, granted boolean,
          source text NOT NULL, at timestamptz NOT NULL,
          CONSTRAINT address_consents_pkey PRIMARY KEY (digest, clock, topic))
        """
    )
    op.execute("ALTER TABLE messages ADD COLUMN address_hash text")
    op.execute(
        """
        CREATE INDEX messages_to_address ON messages (address_hash, sent_at) WHERE address_hash IS NOT NULL
          AND (status IN ('sending', 'sent', 'unknown', 'merged') OR status = 'deferred' AND in_doubt)
        """
    )
    replace_in_function("gate_reads", *_BEFORE)
    op.execute(f"DROP FUNCTION gate_reads({_OLD})")


def downgrade() -> None:
    """Forget what was said of addresses."""
    replace_in_function("gate_reads", *((new, old) for old, new in _BEFORE))
    op.execute(f"DROP FUNCTION gate_reads({_NEW})")
    op.execute("DROP INDEX messages_to_address")
    op.execute("ALTER TABLE messages DROP COLUMN address_hash")
    op.execute("DROP TABLE address_consents")
