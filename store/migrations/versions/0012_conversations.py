"""Conversations, which keep automation quiet; the gate reads them, and shares the lock of each address that it may use.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# A person has answered a message of a run: until it is closed or over, that run says no more to them by itself.
CONVERSATIONS = """
CREATE TABLE conversations (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run          text NOT NULL,
    recipient    text NOT NULL,
    message_id   bigint NOT NULL,
    journey      text NOT NULL,
    template     text NOT NULL,
    channel      text NOT NULL,
    owner        text NOT NULL,
    task_id      bigint REFERENCES tasks (id),
    replies      int NOT NULL DEFAULT 1,
    opened_at    timestamptz NOT NULL,
    last_at      timestamptz NOT NULL,
    until        timestamptz NOT NULL,
    closed_at    timestamptz,
    closed_by    text
)
"""
# As in 0006, with two things more: the talks, and the lock of each address. Whoever suppresses one holds that lock alone, so
# what is decided after a suppression's commit knows it, whoever's the address is by then.
READS = """
CREATE FUNCTION gate_reads(person text, account text, since timestamptz, digests text[], at timestamptz)
RETURNS TABLE (consents json, sent json, queue json, urgent boolean, stopped json, suppressed json, held json, talks json)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM 1 FROM subjects s WHERE s.key = person FOR UPDATE;
  PERFORM pg_advisory_xact_lock_shared(address_lock(d)) FROM (SELECT unnest(digests) AS d ORDER BY 1) AS sorted;
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
            OR h.subject_key IN (SELECT account_key FROM members WHERE person_key = person))),
    (SELECT json_agg(json_build_array(v.run, v.until, v.owner)) FROM conversations v
     WHERE v.recipient = person AND v.closed_at IS NULL AND v.until > at);
END $$
"""
ADDRESS_LOCK = """
CREATE FUNCTION address_lock(digest text) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT hashtextextended(digest, 7239013) $$
"""


def upgrade() -> None:
    """Nobody is in a conversation yet. What the tools know of addresses is learnt at the next round."""
    op.execute(CONVERSATIONS)
    op.execute("CREATE UNIQUE INDEX conversations_open ON conversations (recipient, run) WHERE closed_at IS NULL")
    op.execute("CREATE INDEX conversations_of_task ON conversations (task_id) WHERE task_id IS NOT NULL")
    op.execute(ADDRESS_LOCK)
    op.execute("CREATE INDEX suppressions_digest ON suppressions (digest)")  # also of those that were lifted
    op.execute("DROP FUNCTION gate_reads")
    op.execute(READS)
    # Under which keyed hashes a person's address may be suppressed: what is suppressed later is found by it.
    op.execute("ALTER TABLE audience_syncs ADD COLUMN digests text[] NOT NULL DEFAULT '{}'")


def downgrade() -> None:
    """Automation goes on where people have answered; the gate's function is what it was, without the locks."""
    op.execute("DROP FUNCTION gate_reads")
    op.execute(_before())
    op.execute("DROP FUNCTION address_lock")
    op.execute("DROP INDEX suppressions_digest")
    op.execute("DROP TABLE conversations")
    op.execute("ALTER TABLE audience_syncs DROP COLUMN digests")


def _before() -> str:
    """The function of 0006: this one without its last column and without the addresses' locks."""
    text = READS.replace(", talks json", "").replace(
        "  PERFORM pg_advisory_xact_lock_shared(address_lock(d)) FROM (SELECT unnest(digests) AS d ORDER BY 1) AS sorted;\n",
        "",
    )
    head, _, _ = text.partition(",\n    (SELECT json_agg(json_build_array(v.run")
    return head + ";\nEND $$"
