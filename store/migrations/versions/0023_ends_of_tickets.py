"""Longest time of urgent tickets.

Those that are open end thirty days after their opening, as by the default of the policy.

Revision ID: 0023
Revises: 0022
"""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_OPEN = "t.resolved_at IS NULL AND t.subject_key"
_OPEN_NOW = "t.resolved_at IS NULL AND t.ends_at > at AND t.subject_key"


def _replace_in_gate_reads(old: str, new: str) -> None:
    """Replace a part of the function as it is: other migrations may have changed other parts."""
    op.execute(
        f"""
        DO $do$
        DECLARE source text := pg_get_functiondef('gate_reads'::regproc);
        BEGIN
          IF position($old${old}$old$ IN source) = 0 THEN RAISE EXCEPTION 'gate_reads has another form'; END IF;
          EXECUTE replace(source, $old${old}$old$, $new${new}$new$);
        END $do$
        """
    )


def upgrade() -> None:
    """Add the column, then have the gate read it."""
    op.execute("ALTER TABLE tickets ADD COLUMN ends_at timestamptz")
    op.execute("UPDATE tickets SET ends_at = opened_at + interval '30 days'")
    op.execute("ALTER TABLE tickets ALTER COLUMN ends_at SET NOT NULL")
    _replace_in_gate_reads(_OPEN, _OPEN_NOW)


def downgrade() -> None:
    """Let tickets be open for ever."""
    _replace_in_gate_reads(_OPEN_NOW, _OPEN)
    op.execute("ALTER TABLE tickets DROP COLUMN ends_at")
