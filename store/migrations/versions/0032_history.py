"""When events happened, beside the instant at which journeys reckon with them.

Revision ID: 0032
Revises: 0031
"""

from __future__ import annotations

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

_NEW = (
    "ALTER TABLE events ADD COLUMN occurred_at timestamptz",
    "ALTER TABLE outbox ADD COLUMN occurred_at timestamptz",
)
_OLD = (
    "ALTER TABLE outbox DROP COLUMN occurred_at",
    "ALTER TABLE events DROP COLUMN occurred_at",
)


def upgrade() -> None:
    """Keep when an event happened, where that differs from `at`."""
    for statement in _NEW:
        op.execute(statement)


def downgrade() -> None:
    """Forget it."""
    for statement in _OLD:
        op.execute(statement)
