"""Index of open tickets, for the oldest of them.

Revision ID: 0027
Revises: 0026
"""

from __future__ import annotations

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index the tickets that are not resolved by their end."""
    op.execute("CREATE INDEX tickets_open ON tickets (ends_at) WHERE resolved_at IS NULL")


def downgrade() -> None:
    """Read all tickets."""
    op.execute("DROP INDEX tickets_open")
