"""From where on a run hears the lane of the known user its visitor turned out to be.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Runs keep the lane in which they began, under `subject_key`; few ever have another, so the index is small."""
    op.execute("ALTER TABLE runs ADD COLUMN joined_seq bigint NOT NULL DEFAULT 0")
    op.execute("UPDATE runs SET joined_seq = entered_seq, entered_seq = 0 WHERE lane <> subject_key")
    op.execute("CREATE INDEX runs_moved ON runs (subject_key) WHERE status = 'open' AND lane <> subject_key")


def downgrade() -> None:
    """A run hears its lane from its entry again."""
    op.execute("DROP INDEX runs_moved")
    op.execute("UPDATE runs SET entered_seq = joined_seq WHERE lane <> subject_key")
    op.execute("ALTER TABLE runs DROP COLUMN joined_seq")
