"""The gate knows every account of a person, why an address is suppressed, what may have arrived, and each stop from its commit on.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

from alembic import op

from store.locks import Lock

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# As in 0012, with five things changed. Stops: who throws one holds their lock alone, so what is decided after its commit knows
# it. Tickets: of all accounts of the person, as holds are, which `theirs` makes an index's work. Sent: also what waits for its
# retry and may have arrived. Suppressed: with the reason; whoever reads it as a list of hashes still does. And the accounts.
READS = f"""
CREATE FUNCTION gate_reads(person text, account text, since timestamptz, digests text[], at timestamptz)
RETURNS TABLE (consents json, sent json, queue json, urgent boolean, stopped json, suppressed json, held json, talks json,
               accounts text[])
LANGUAGE plpgsql VOLATILE AS $$
DECLARE theirs text[];
BEGIN
  PERFORM 1 FROM subjects s WHERE s.key = person FOR UPDATE;
  PERFORM pg_advisory_xact_lock_shared({int(Lock.STOPS)});
  PERFORM pg_advisory_xact_lock_shared(address_lock(d)) FROM (SELECT unnest(digests) AS d ORDER BY 1) AS sorted;
  theirs := account || ARRAY(SELECT b.account_key FROM members b WHERE b.person_key = person);
  RETURN QUERY SELECT
    (SELECT json_agg(json_build_array(c.channel, c.topic, c.granted)) FROM consents c WHERE c.subject_key = person),
    (SELECT json_agg(json_build_array(m.sent_at, m.channel, m.topic, m.priority, m.action, m.journey, m.template,
                                      m.subject_key, m.key, m.merged_into IS NOT NULL))
     FROM messages m WHERE m.recipient = person AND m.sent_at > since
       AND (m.status IN ('sending', 'sent', 'unknown', 'merged') OR (m.status = 'deferred' AND m.in_doubt))),
    (SELECT json_agg(json_build_array(m.key, m.due_at, m.via, m.topic, m.priority, m.action, m.journey,
                                      jsonb_path_query_array(m.reasons, '$[*].rule'), m.expires_at))
     FROM messages m WHERE m.recipient = person AND m.status = 'deferred'),
    EXISTS (SELECT 1 FROM tickets t WHERE t.resolved_at IS NULL AND t.subject_key = ANY (person || theirs)),
    (SELECT json_agg(json_build_array(s.scope, s.name, s.why)) FROM stops s WHERE s.released_at IS NULL),
    (SELECT json_object_agg(a.digest, a.reason) FROM suppressions a WHERE a.digest = ANY(digests) AND a.lifted_at IS NULL),
    (SELECT json_agg(json_build_array(h.until, h.by, h.why)) FROM holds h
     WHERE h.released_at IS NULL AND h.until > at AND h.subject_key = ANY (person || theirs)),
    (SELECT json_agg(json_build_array(v.run, v.until, v.owner)) FROM conversations v
     WHERE v.recipient = person AND v.closed_at IS NULL AND v.until > at),
    theirs;
END $$
"""  # noqa: S608 -- the number is ours
BEFORE = """
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
COUNTED = "status IN ('sending', 'sent', 'unknown', 'merged')"


def upgrade() -> None:
    """Nothing is lost; the index that counts is made anew, with what is in doubt in it."""
    _counted(f"{COUNTED} OR (status = 'deferred' AND in_doubt)")
    op.execute("DROP FUNCTION gate_reads")
    op.execute(READS)


def downgrade() -> None:
    """The gate's function and index are what they were."""
    op.execute("DROP FUNCTION gate_reads")
    op.execute(BEFORE)
    _counted(COUNTED)


def _counted(which: str) -> None:
    op.execute("DROP INDEX messages_counted")
    op.execute(f"CREATE INDEX messages_counted ON messages (recipient, sent_at) WHERE {which}")
