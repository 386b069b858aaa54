"""Proof of consent, signed links, suppressed addresses.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE consents ADD COLUMN wording text NOT NULL DEFAULT '';

-- `granted` null: what was said before is taken back. `pending`: said, and no grant before its link is confirmed.
ALTER TABLE consent_log
    ALTER COLUMN granted DROP NOT NULL,
    ADD COLUMN pending boolean NOT NULL DEFAULT false CHECK (granted OR NOT pending),
    ADD COLUMN wording text NOT NULL DEFAULT '',
    ADD COLUMN proof jsonb NOT NULL DEFAULT '{}';
CREATE INDEX consent_log_of_subject ON consent_log (subject_key, id);

-- A yes that waits for its confirmation.
CREATE TABLE consent_requests (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject_key  text NOT NULL,
    channel      text NOT NULL,
    topic        text NOT NULL,
    source       text NOT NULL,
    wording      text NOT NULL,
    proof        jsonb NOT NULL,
    at           timestamptz NOT NULL,
    asked_at     timestamptz NOT NULL DEFAULT now(),
    confirmed_at timestamptz,
    refused_at   timestamptz
);
CREATE INDEX consent_requests_open ON consent_requests (subject_key)
    WHERE confirmed_at IS NULL AND refused_at IS NULL;

-- Addresses that nothing is sent to. Only a keyed hash of each, so that it outlives the person's erasure.
CREATE TABLE suppressions (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest       text NOT NULL,
    channel      text NOT NULL,
    reason       text NOT NULL CHECK (reason IN ('hard_bounce', 'soft_bounces', 'complaint', 'stop_word', 'operator')),
    source       text NOT NULL,
    at           timestamptz NOT NULL,
    lifted_at    timestamptz,
    lifted_by    text
);
CREATE UNIQUE INDEX suppressions_in_force ON suppressions (digest) WHERE lifted_at IS NULL;

CREATE TABLE soft_bounces (
    digest       text NOT NULL,
    reference    text NOT NULL,
    at           timestamptz NOT NULL,
    PRIMARY KEY (digest, reference)
);

-- Who wrote that text message: digits only, as numbers are written in many ways.
CREATE INDEX subjects_by_phone ON subjects (regexp_replace(profile->>'phone', '[^0-9]', '', 'g'))
    WHERE profile->>'phone' IS NOT NULL;
"""
# The owner of the table, who alone may disable a trigger, can still erase a person; no statement of ours changes a line.
APPEND_ONLY = (
    """
    CREATE FUNCTION consent_log_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the consent log only grows' USING ERRCODE = 'restrict_violation';
    END $$
    """,
    """
    CREATE TRIGGER consent_log_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON consent_log
    FOR EACH STATEMENT EXECUTE FUNCTION consent_log_only_grows()
    """,
)


def upgrade() -> None:
    """Proof beside what was said; a log that nobody rewrites; addresses that nothing is sent to."""
    for statement in (*TABLES.split(";\n"), *APPEND_ONLY):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    """What has no place in the old log is given up: pending requests, what was taken back, proof and suppressions."""
    op.execute("DROP TRIGGER consent_log_only_grows ON consent_log")
    op.execute("DROP FUNCTION consent_log_only_grows")
    op.execute("DROP INDEX subjects_by_phone")
    for table in ("soft_bounces", "suppressions", "consent_requests"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP INDEX consent_log_of_subject")
    op.execute("DELETE FROM consent_log WHERE granted IS NULL OR pending")
    op.execute(
        "ALTER TABLE consent_log ALTER COLUMN granted SET NOT NULL, "
        "DROP COLUMN pending, DROP COLUMN wording, DROP COLUMN proof"
    )
    op.execute("ALTER TABLE consents DROP COLUMN wording")
