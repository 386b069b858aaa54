"""What the gate reads, in one statement under the person's lock; stops; messages that became a part of another; members of accounts.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATUSES = "'deferred', 'sending', 'sent', 'failed', 'unknown', 'withheld', 'withdrawn'"
STOPS = """
CREATE TABLE stops (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope       text NOT NULL CHECK (scope IN ('all', 'channel', 'journey', 'template')),
    name        text NOT NULL DEFAULT '',
    why         text NOT NULL,
    by          text NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    released_at timestamptz,
    released_by text,
    CHECK ((scope = 'all') = (name = ''))
)
"""
MEMBERS = """
CREATE TABLE members (
    account_key text NOT NULL,
    person_key  text NOT NULL,
    since       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (account_key, person_key)
)
"""
# Two statements in a volatile function: the second sees what was committed while the first waited for the lock.
# Tables of later revisions are named here: a function's body is bound when it is first called.
READS = """
CREATE FUNCTION gate_reads(person text, account text, since timestamptz, digests text[], at timestamptz)
RETURNS TABLE (consents json, sent json, queue json, urgent boolean, stopped json, suppressed json, held json)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM 1 FROM subjects s WHERE s.key = person FOR UPDATE;
  RETURN QUERY SELECT
    (SELECT json_agg(json_build_array(c.channel, c.topic, c.granted)) FROM consents c WHERE c.subject_key = person),
    (SELECT json_agg(json_build_array(m.sent_at, m.channel, m.topic, m.priority, m.action, m.journey, m.template,
                                      m.subject_key, m.key, m.merged_into IS NOT NULL))
     FROM messages m WHERE m.recipient = person AND m.status IN ('sending', 'sent', 'unknown', 'merged')
       AND m.sent_at > since),
    (SELECT json_agg(json_build_array(m.key, m.due_at, m.via, m.topic, m.priority, m.action, m.journey,
                                      jsonb_path_query_array(m.reasons, '$[*].rule'), m.expires_at))
     FROM messages m WHERE m.recipient = person AND m.status = 'deferred'),
    EXISTS (SELECT 1 FROM tickets t WHERE t.resolved_at IS NULL AND t.subject_key IN (person, account)),
    (SELECT json_agg(json_build_array(s.scope, s.name, s.why)) FROM stops s WHERE s.released_at IS NULL),
    (SELECT json_agg(a.digest) FROM suppressions a WHERE a.digest = ANY(digests) AND a.lifted_at IS NULL),
    (SELECT json_agg(json_build_array(h.until, h.by, h.why)) FROM holds h
     WHERE h.released_at IS NULL AND h.until > at
       AND (h.subject_key IN (person, account)
            OR h.subject_key IN (SELECT account_key FROM members WHERE person_key = person)));
END $$
"""


def upgrade() -> None:
    """Old rows keep their ends; no message was ever ended as `expired`."""
    op.execute("ALTER TABLE messages ADD COLUMN ready_at timestamptz, ADD COLUMN merged_into text")
    op.execute("ALTER TABLE messages DROP CONSTRAINT messages_status_check")
    op.execute(
        f"ALTER TABLE messages ADD CONSTRAINT messages_status_check CHECK (status IN ({STATUSES}, 'merged', 'replaced'))"
    )
    op.execute("CREATE INDEX messages_parts ON messages (merged_into) WHERE merged_into IS NOT NULL")
    op.execute("DROP INDEX messages_counted")
    op.execute(
        "CREATE INDEX messages_counted ON messages (recipient, sent_at) "
        "WHERE status IN ('sending', 'sent', 'unknown', 'merged')"
    )
    op.execute("CREATE INDEX messages_by_journey ON messages (journey, sent_at) WHERE sent_at IS NOT NULL")
    op.execute(STOPS)
    op.execute("CREATE UNIQUE INDEX stops_thrown ON stops (scope, name) WHERE released_at IS NULL")
    op.execute(READS)
    op.execute(MEMBERS)
    op.execute("CREATE INDEX members_person ON members (person_key)")
    op.execute(
        "INSERT INTO members (account_key, person_key) "
        "SELECT account_key, key FROM subjects WHERE kind = 'user' AND account_key IS NOT NULL AND merged_into IS NULL"
    )


def downgrade() -> None:
    """What became a part of another is told as withdrawn."""
    op.execute("DROP TABLE members")
    op.execute("DROP FUNCTION gate_reads")
    op.execute("DROP TABLE stops")
    op.execute("DROP INDEX messages_by_journey")
    op.execute("DROP INDEX messages_counted")
    op.execute("DROP INDEX messages_parts")
    op.execute("UPDATE messages SET status = 'withdrawn' WHERE status IN ('merged', 'replaced')")
    op.execute("ALTER TABLE messages DROP CONSTRAINT messages_status_check")
    op.execute(f"ALTER TABLE messages ADD CONSTRAINT messages_status_check CHECK (status IN ({STATUSES}, 'expired'))")
    op.execute(
        "CREATE INDEX messages_counted ON messages (recipient, sent_at) WHERE status IN ('sending', 'sent', 'unknown')"
    )
    op.execute("ALTER TABLE messages DROP COLUMN merged_into, DROP COLUMN ready_at")
