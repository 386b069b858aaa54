"""Indexes for going round: the lanes that wait and those that rest for the relay, quiet runs for the reconciler.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """All are partial: they hold what waits, what rests and what sleeps, not what has ever been."""
    op.execute("CREATE INDEX outbox_waiting_of ON outbox (recipient, seq) WHERE delivered_at IS NULL")
    op.execute("CREATE INDEX lanes_resting ON lanes (ready_at) WHERE attempts > 0")
    op.execute(
        "CREATE INDEX runs_quiet ON runs (id) "
        "WHERE status = 'open' AND (next_due_at IS NULL OR paused OR clock IS NOT NULL)"
    )


def downgrade() -> None:
    """The relay and the reconciler are slower without them."""
    op.execute("DROP INDEX runs_quiet")
    op.execute("DROP INDEX lanes_resting")
    op.execute("DROP INDEX outbox_waiting_of")
