"""Doubt is kept: a message of which an earlier attempt may have arrived never reads as if it had not been sent.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of what is in flight nobody knows anything yet: whoever takes it up finds out, or doubts."""
    op.execute("ALTER TABLE messages ADD COLUMN in_doubt boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    """What is in doubt just now may end as if it had never been tried."""
    op.execute("ALTER TABLE messages DROP COLUMN in_doubt")
