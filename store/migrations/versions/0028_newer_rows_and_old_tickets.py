"""Rows parked for a newer version, and an index for the pruning of tickets.

Revision ID: 0028
Revises: 0027
"""

from __future__ import annotations

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

_CHANGE = """
    ALTER TABLE parked DROP CONSTRAINT parked_code_check,
      ADD CONSTRAINT parked_code_check CHECK (code IN ({codes}))
"""


def upgrade() -> None:
    """Know the code `version`, and find the tickets that are over."""
    op.execute("CREATE INDEX tickets_by_end ON tickets (ends_at)")
    op.execute(_CHANGE.format(codes="'refused', 'unreadable', 'definition', 'version'"))


def downgrade() -> None:
    """Let an operator replay what was parked for its version; keep all tickets."""
    op.execute("DROP INDEX tickets_by_end")
    op.execute("UPDATE parked SET code = 'unreadable' WHERE code = 'version'")
    op.execute(_CHANGE.format(codes="'refused', 'unreadable', 'definition'"))
