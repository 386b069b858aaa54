"""Parked rows, and the place of the sweep over open runs.

Revision ID: 0022
Revises: 0020
"""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables; the sweep reads all open runs by id, not only those without a due date."""
    op.execute(
        """
        CREATE TABLE parked (
          id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
          recipient text NOT NULL,
          seq bigint NOT NULL,
          run text NOT NULL,
          kind text NOT NULL,
          name text NOT NULL,
          event_id text NOT NULL,
          at timestamptz NOT NULL,
          data jsonb NOT NULL,
          facts jsonb,
          target text,
          trace uuid,
          opens boolean NOT NULL,
          code text NOT NULL CONSTRAINT parked_code_check CHECK (code IN ('refused', 'unreadable', 'definition')),
          reason text NOT NULL,
          parked_at timestamptz NOT NULL DEFAULT now(),
          status text NOT NULL DEFAULT 'held' CONSTRAINT parked_status_check CHECK (status IN ('held', 'replayed', 'discarded')),
          settled_at timestamptz,
          settled_by text,
          replayed_seq bigint,
          UNIQUE (run, recipient, seq)
        )
        """
    )
    op.execute("CREATE INDEX parked_held ON parked (id) WHERE status = 'held'")
    op.execute("CREATE TABLE sweeps (name text PRIMARY KEY, place text NOT NULL)")
    op.execute("CREATE INDEX runs_open_ids ON runs (id) WHERE status = 'open'")
    op.execute("DROP INDEX runs_quiet")


def downgrade() -> None:
    """Forget what is parked."""
    op.execute(
        "CREATE INDEX runs_quiet ON runs (id) WHERE status = 'open' AND (next_due_at IS NULL OR paused OR clock IS NOT NULL)"
    )
    op.execute("DROP INDEX runs_open_ids")
    op.execute("DROP TABLE sweeps")
    op.execute("DROP TABLE parked")
