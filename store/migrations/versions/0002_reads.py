"""Indexes of the read side: a person's former keys, and the messages that somebody must look at.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Both are partial: they cost the hot path nothing."""
    op.execute("CREATE INDEX subjects_merged ON subjects (merged_into) WHERE merged_into IS NOT NULL")
    op.execute("CREATE INDEX messages_troubled ON messages (status, id) WHERE status IN ('failed', 'unknown')")


def downgrade() -> None:
    """Nothing depends on them."""
    op.execute("DROP INDEX messages_troubled")
    op.execute("DROP INDEX subjects_merged")
