"""Double opt-ins are bound to the address at which they were confirmed.

Consents that were confirmed before have no address and still count. Requests that wait have none either: their links were
sent with the event and end with a word of it; a new request is made by asking again.

Revision ID: 0020
Revises: 0019
"""

from __future__ import annotations

from alembic import op

from store.migrations.functions import replace_in_function

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_CONSENTS = "json_build_array(c.channel, c.topic, c.granted)"
_BOUND = "json_build_array(c.channel, c.topic, c.granted, c.address)"


def upgrade() -> None:
    """Add the columns, then have the gate read them."""
    op.execute("ALTER TABLE consents ADD COLUMN address text")
    op.execute("ALTER TABLE consent_requests ADD COLUMN address text")
    replace_in_function("gate_reads", (_CONSENTS, _BOUND))


def downgrade() -> None:
    """Read and store no addresses."""
    replace_in_function("gate_reads", (_BOUND, _CONSENTS))
    op.execute("ALTER TABLE consent_requests DROP COLUMN address")
    op.execute("ALTER TABLE consents DROP COLUMN address")
