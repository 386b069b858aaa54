"""Marks of visitors to be deleted, and of fields with values left out.

Revision ID: 0036
Revises: 0035
"""

from __future__ import annotations

from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Record since when retention would delete a visitor, and when values of a field were left out."""
    op.execute("ALTER TABLE subjects ADD COLUMN leaving_since timestamptz")
    op.execute(
        """
        ALTER TABLE declared_fields ADD COLUMN began_at timestamptz, ADD COLUMN dropped_from timestamptz,
          ADD COLUMN dropped_at timestamptz
        """
    )
    op.execute("UPDATE declared_fields SET began_at = filled_at")


def downgrade() -> None:
    """Delete visitors at once, and fill a field once."""
    op.execute("ALTER TABLE declared_fields DROP COLUMN began_at, DROP COLUMN dropped_from, DROP COLUMN dropped_at")
    op.execute("ALTER TABLE subjects DROP COLUMN leaving_since")
