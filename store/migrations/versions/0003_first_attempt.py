"""When the first attempt at a message was made: retries end by it, however long a cap had held the message before.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What is being retried now is counted from where it was counted before."""
    op.execute("ALTER TABLE messages ADD COLUMN first_attempt_at timestamptz")
    op.execute(
        "UPDATE messages SET first_attempt_at = at WHERE attempts > 0 AND status IN ('deferred', 'sending', 'unknown')"
    )


def downgrade() -> None:
    """It is counted from the decision again."""
    op.execute("ALTER TABLE messages DROP COLUMN first_attempt_at")
