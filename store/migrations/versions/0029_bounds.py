"""Message ids with contents, progress of retention, and declared fields.

Message ids outlive their events. An event from before has no content: whatever comes with its id is a repetition.

Revision ID: 0029
Revises: 0028
"""

from __future__ import annotations

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

_UP = (
    "ALTER TABLE events ADD COLUMN content bytea",
    "ALTER TABLE events ADD COLUMN account_key text",
    "CREATE INDEX events_of_account ON events (account_key, id) WHERE account_key IS NOT NULL",
    "ALTER TABLE quarantine ADD COLUMN content bytea DEFAULT ''::bytea NOT NULL",
    "ALTER TABLE quarantine DROP CONSTRAINT quarantine_source_message_id_key",
    "ALTER TABLE quarantine ADD CONSTRAINT quarantine_source_message_id_content_key UNIQUE (source, message_id, content)",
    """
    CREATE TABLE message_ids (
      digest bytea NOT NULL, content bytea, accepted_at timestamptz NOT NULL,
      CONSTRAINT message_ids_pkey PRIMARY KEY (digest))
    """,
    "CREATE INDEX message_ids_accepted ON message_ids (accepted_at)",
    "CREATE INDEX feed_of_event ON feed (event) WHERE event IS NOT NULL",
    "CREATE INDEX clicks_last ON clicks (last_at)",
    """
    CREATE TABLE retention (
      kind text NOT NULL CONSTRAINT retention_kind_check CHECK (kind IN ('events', 'feed', 'visitors')),
      upto bigint DEFAULT 0 NOT NULL, kept_upto bigint DEFAULT 0 NOT NULL, kept_at timestamptz, after text DEFAULT '' NOT NULL,
      CONSTRAINT retention_pkey PRIMARY KEY (kind))
    """,
    """
    CREATE TABLE declared_fields (
      owner text NOT NULL CONSTRAINT declared_fields_owner_check CHECK (owner IN ('profile', 'account')),
      name text NOT NULL, after text DEFAULT '' NOT NULL, filled_at timestamptz,
      CONSTRAINT declared_fields_pkey PRIMARY KEY (owner, name))
    """,
    "INSERT INTO retention (kind) VALUES ('events'), ('feed'), ('visitors')",
)
_DOWN = (
    "DROP TABLE declared_fields",
    "DROP TABLE retention",
    "DROP INDEX clicks_last",
    "DROP INDEX feed_of_event",
    "DROP TABLE message_ids",
    """
    DELETE FROM quarantine q USING quarantine first
    WHERE first.source = q.source AND first.message_id = q.message_id AND first.id < q.id
    """,
    "ALTER TABLE quarantine DROP CONSTRAINT quarantine_source_message_id_content_key",
    "ALTER TABLE quarantine ADD CONSTRAINT quarantine_source_message_id_key UNIQUE (source, message_id)",
    "ALTER TABLE quarantine DROP COLUMN content",
    "DROP INDEX events_of_account",
    "ALTER TABLE events DROP COLUMN account_key",
    "ALTER TABLE events DROP COLUMN content",
)


def upgrade() -> None:
    """Add the columns and the tables."""
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    """Forget contents, and the ids whose events are gone: those are accepted again."""
    for statement in _DOWN:
        op.execute(statement)
