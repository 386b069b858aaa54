"""IP addresses of earlier events are removed; the consent log is append-only.

Revision ID: 0030
Revises: 0029
"""

from __future__ import annotations

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Remove them: without the deployment's keys they cannot be hashed here."""
    op.execute("UPDATE events SET context = nullif(context - 'ip', '{}') WHERE context ? 'ip'")
    op.execute(
        "UPDATE quarantine SET event = event - 'ip' #- '{context,ip}' WHERE event ? 'ip' OR event->'context' ? 'ip'"
    )
    op.execute(
        """UPDATE quarantine SET event = jsonb_set(event, '{unreadable}', to_jsonb(regexp_replace(
             event->>'unreadable', '"ip": "([^"\\\\]|\\\\.)*"', '"ip": "removed"', 'g')))
           WHERE event->>'unreadable' LIKE '%"ip": %'"""
    )


def downgrade() -> None:
    """Nothing brings them back."""
