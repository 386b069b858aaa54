"""What providers told us: by which reference or address a message is found again, and what audiences they hold.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Indexes for webhooks, and the side of the advertising tools."""
    op.execute(
        "CREATE INDEX messages_by_reference ON messages (reference) WHERE reference IS NOT NULL AND channel <> 'in_app'"
    )
    op.execute(
        "CREATE INDEX messages_by_address ON messages (channel, address, id) WHERE channel IN ('sms', 'webinar')"
    )
    # `wanted_at` is the change of membership that was last carried out, `member` what the tool was told, `hashed` under
    # which identifier: a person whose address changes is taken out under the old one before they go in under the new.
    op.execute(
        """
        CREATE TABLE audience_syncs (
            destination  text NOT NULL,
            audience     text NOT NULL,
            subject_key  text NOT NULL,
            hashed       text NOT NULL,
            member       boolean NOT NULL,
            synced_at    timestamptz NOT NULL,
            PRIMARY KEY (destination, audience, subject_key)
        )
        """
    )
    op.execute("CREATE INDEX audiences_members ON audiences (audience, subject_key) WHERE member")


def downgrade() -> None:
    """What the tools were told is forgotten: a later sync tells them all of it again, which changes nothing there."""
    op.execute("DROP INDEX audiences_members")
    op.execute("DROP TABLE audience_syncs")
    op.execute("DROP INDEX messages_by_address")
    op.execute("DROP INDEX messages_by_reference")
