"""Rows of accounts are copied into their members' lanes (record 0015).

What members had not been told yet waits to be copied, and so do the last known fields of each account: a run may not have
been told of a change that decides nothing by itself.

Stop the workers first: an older relay would deliver an account's signals to its members' runs as well.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_UP = (
    """
    ALTER TABLE subjects ADD COLUMN members_seq bigint DEFAULT 0 NOT NULL, ADD COLUMN behind_since timestamptz,
      ADD COLUMN copied_seq bigint, ADD COLUMN member_number bigint DEFAULT 0 NOT NULL
    """,
    """
    CREATE INDEX subjects_to_copy ON subjects (account_key, copied_seq, member_number) WHERE copied_seq IS NOT NULL
    """,
    "CREATE INDEX subjects_behind ON subjects (behind_since) WHERE behind_since IS NOT NULL",
    "ALTER TABLE outbox ADD COLUMN for_members jsonb, ADD COLUMN copy_of bigint",
    "CREATE INDEX outbox_waiting_own ON outbox (recipient) WHERE delivered_at IS NULL AND copy_of IS NULL",
    "CREATE INDEX outbox_for_members ON outbox (recipient, seq) WHERE for_members IS NOT NULL",
    "ALTER TABLE runs ADD COLUMN compared_seq bigint DEFAULT 0 NOT NULL",
    """
    UPDATE subjects SET member_number = numbered.n
    FROM (SELECT s.key, row_number() OVER (PARTITION BY s.account_key ORDER BY m.since, s.key) AS n
          FROM subjects s LEFT JOIN members m ON m.account_key = s.account_key AND m.person_key = s.key
          WHERE s.account_key IS NOT NULL) AS numbered
    WHERE numbered.key = subjects.key
    """,
    """
    UPDATE subjects SET member_number = numbered.n
    FROM (SELECT account_key, max(member_number) AS n FROM subjects GROUP BY account_key) AS numbered
    WHERE numbered.account_key = subjects.key
    """,
    """
    UPDATE outbox SET for_members = jsonb_build_object(
      'kind', CASE WHEN delivered_at IS NULL AND kind = 'signal' AND NOT facts ? '@personal' THEN 'signal' ELSE 'facts' END,
      'definitions', (SELECT coalesce(jsonb_agg(DISTINCT r.definition), '[]') FROM runs r
                      WHERE r.status = 'open' AND r.subject_key LIKE 'u\\_%'),
      'profile', (SELECT coalesce(jsonb_agg(DISTINCT field), '[]')
                  FROM subjects s CROSS JOIN LATERAL jsonb_object_keys(s.profile) AS field
                  WHERE s.account_key = outbox.recipient))
    WHERE recipient LIKE 'a\\_%' AND kind IN ('signal', 'facts') AND target IS NULL AND facts IS NOT NULL
      AND (delivered_at IS NULL OR seq = (SELECT max(last.seq) FROM outbox last
        WHERE last.recipient = outbox.recipient AND last.target IS NULL AND last.facts ? 'account'))
    """,
    """
    UPDATE subjects SET members_seq = rows_of.last, behind_since = clock_timestamp()
    FROM (SELECT recipient, max(seq) AS last FROM outbox WHERE for_members IS NOT NULL GROUP BY recipient) AS rows_of
    WHERE rows_of.recipient = subjects.key
    """,
    """
    UPDATE subjects SET copied_seq = 0 WHERE kind = 'user' AND account_key IS NOT NULL AND merged_into IS NULL
      AND EXISTS (SELECT 1 FROM runs r WHERE r.lane = subjects.key AND r.status = 'open')
    """,
)
_DOWN = (
    "ALTER TABLE runs DROP COLUMN compared_seq",
    "ALTER TABLE outbox DROP COLUMN for_members, DROP COLUMN copy_of",
    """
    ALTER TABLE subjects DROP COLUMN members_seq, DROP COLUMN behind_since, DROP COLUMN copied_seq,
      DROP COLUMN member_number
    """,
)


def upgrade() -> None:
    """Add what copies need, and let what members have not been told wait for its copy."""
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    """Drop it; its indexes go with the columns."""
    for statement in _DOWN:
        op.execute(statement)
