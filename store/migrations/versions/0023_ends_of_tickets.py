"""Longest time of urgent tickets.

Those that are open end thirty days after their opening, as by the default of the policy.

Revision ID: 0023
Revises: 0022
"""

from __future__ import annotations

from alembic import op

from store.migrations.functions import replace_in_function

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_OPEN = "t.resolved_at IS NULL AND t.subject_key"
_OPEN_NOW = "t.resolved_at IS NULL AND t.ends_at > at AND t.subject_key"


def upgrade() -> None:
    """Add the column, then have the gate read it."""
    op.execute("ALTER TABLE tickets ADD COLUMN ends_at timestamptz")
    op.execute("UPDATE tickets SET ends_at = opened_at + interval '30 days'")
    op.execute("ALTER TABLE tickets ALTER COLUMN ends_at SET NOT NULL")
    replace_in_function("gate_reads", (_OPEN, _OPEN_NOW))


def downgrade() -> None:
    """Let tickets be open for ever."""
    replace_in_function("gate_reads", (_OPEN_NOW, _OPEN))
    op.execute("ALTER TABLE tickets DROP COLUMN ends_at")
