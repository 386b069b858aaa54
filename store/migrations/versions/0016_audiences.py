"""Audiences know which journey put somebody in, so that a stop of that journey holds for them too.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of who is in already nobody knows by which journey; a stop over all or of the channel holds for them as well."""
    op.execute("ALTER TABLE audiences ADD COLUMN journey text")


def downgrade() -> None:
    """A stop of a journey is heard by the gate only, as it was."""
    op.execute("ALTER TABLE audiences DROP COLUMN journey")
