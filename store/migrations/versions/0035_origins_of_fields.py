"""Origins of fields: when each was said and accepted, by which source.

Revision ID: 0035
Revises: 0034
"""

from __future__ import annotations

from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. Fields from before have no origin: the first statement of each is newer."""
    op.execute("ALTER TABLE subjects ADD COLUMN origins JSONB DEFAULT '{}' NOT NULL")
    op.execute(
        "COMMENT ON COLUMN subjects.origins IS 'By field, when its newest statement was made and accepted"
        " (microseconds since 1970), by which source.'"
    )


def downgrade() -> None:
    """Statements count in the order of their arrival."""
    op.execute("ALTER TABLE subjects DROP COLUMN origins")
