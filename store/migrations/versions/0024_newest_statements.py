"""The newest statement of each author is kept, one of them in force.

A statement that is taken back keeps its row, so that an opt-out from before that arrives later changes nothing. Statements
by link and by word become the person's own; all others are the company's. Whose opt-out a merge has kept is not recorded,
so it becomes the person's own, which no grant of the company undoes.

Revision ID: 0024
Revises: 0023
"""

from __future__ import annotations

from alembic import op

from store.migrations.functions import replace_in_function

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_EVERY = "FROM consents c WHERE c.subject_key = person"
_IN_FORCE = "FROM consents c WHERE c.subject_key = person AND c.in_force"


def upgrade() -> None:
    """Add the columns, mark the person's own statements, then have the gate read those in force."""
    op.execute(
        """
        ALTER TABLE consents ALTER COLUMN granted DROP NOT NULL,
          ADD COLUMN "by" text NOT NULL DEFAULT 'company'
            CONSTRAINT consents_by_check CHECK ("by" IN ('company', 'operator', 'person')),
          ADD COLUMN in_force boolean NOT NULL DEFAULT true,
          ADD CONSTRAINT consents_check CHECK (granted IS NOT NULL OR NOT in_force),
          DROP CONSTRAINT consents_pkey
        """
    )
    op.execute('ALTER TABLE consents ADD CONSTRAINT consents_pkey PRIMARY KEY (subject_key, channel, topic, "by")')
    op.execute(
        """
        ALTER TABLE consent_log
          ADD COLUMN "by" text NOT NULL DEFAULT 'company'
            CONSTRAINT consent_log_by_check CHECK ("by" IN ('company', 'operator', 'person')),
          ADD COLUMN effect text NOT NULL DEFAULT 'applied'
            CONSTRAINT consent_log_effect_check CHECK (effect IN ('applied', 'waits', 'stale', 'late', 'protected')),
          ADD COLUMN unreadable text,
          ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
        """
    )
    op.execute("ALTER TABLE consent_log DISABLE TRIGGER consent_log_only_grows")
    op.execute(
        """
        UPDATE consent_log l SET effect = CASE WHEN pending THEN 'waits' ELSE 'applied' END, recorded_at = at,
          "by" = CASE WHEN l.proof->>'by' = 'signed-link' OR l.proof ?| ARRAY['word', 'request']
            OR (l.source = 'merge' AND l.granted IS FALSE) THEN 'person' ELSE 'company' END
        """
    )
    op.execute("ALTER TABLE consent_log ENABLE TRIGGER consent_log_only_grows")
    op.execute(
        """
        UPDATE consents c SET "by" = l."by" FROM consent_log l
        WHERE (l.subject_key, l.channel, l.topic, l.at, l.granted) = (c.subject_key, c.channel, c.topic, c.at, c.granted)
        """
    )
    op.execute(
        "CREATE INDEX consent_log_listed ON consent_log (effect, id) WHERE effect IN ('late', 'protected', 'stale')"
    )
    op.execute("CREATE INDEX consent_log_unreadable ON consent_log (id) WHERE unreadable IS NOT NULL")
    replace_in_function("gate_reads", (_EVERY, _IN_FORCE))


def downgrade() -> None:
    """Keep the statements in force alone."""
    replace_in_function("gate_reads", (_IN_FORCE, _EVERY))
    op.execute("DROP INDEX consent_log_unreadable, consent_log_listed")
    op.execute(
        'ALTER TABLE consent_log DROP COLUMN recorded_at, DROP COLUMN unreadable, DROP COLUMN effect, DROP COLUMN "by"'
    )
    op.execute("DELETE FROM consents WHERE NOT in_force")
    op.execute(
        """
        ALTER TABLE consents DROP CONSTRAINT consents_pkey, DROP CONSTRAINT consents_check, DROP COLUMN in_force,
          DROP COLUMN "by", ALTER COLUMN granted SET NOT NULL
        """
    )
    op.execute("ALTER TABLE consents ADD CONSTRAINT consents_pkey PRIMARY KEY (subject_key, channel, topic)")
