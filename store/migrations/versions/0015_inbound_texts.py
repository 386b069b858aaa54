"""Which of the texts that stop or start have been acted on: a provider's signature is good for ever, each text only once.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A row for each text by its provider's id, and nothing of who wrote it. Never pruned: it can be replayed at any time."""
    op.execute(
        """
        CREATE TABLE inbound_texts (
            source     text NOT NULL,
            message_id text NOT NULL,
            at         timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (source, message_id)
        )
        """
    )


def downgrade() -> None:
    """What was acted on can be handed in again."""
    op.execute("DROP TABLE inbound_texts")
