"""Content: checklists, where an inbox message appears, what changed in an inbox, clicks.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

UP = """
-- `changed` is the transaction that last changed the row: who reads on from the oldest one still running misses nothing.
-- `place` is a pattern for LIKE of the pages on which the message appears; NULL is everywhere.
ALTER TABLE inbox
    ADD COLUMN changed bigint NOT NULL DEFAULT CAST(CAST(pg_current_xact_id() AS text) AS bigint),
    ADD COLUMN place text;
CREATE INDEX inbox_changed ON inbox (recipient, changed);

CREATE TABLE checklist_items (
    inbox_key    text NOT NULL REFERENCES inbox (key) ON DELETE CASCADE,
    position     int NOT NULL,
    recipient    text NOT NULL,
    signal       text NOT NULL,
    done_at      timestamptz,
    PRIMARY KEY (inbox_key, position)
);
CREATE INDEX checklist_items_awaited ON checklist_items (recipient, signal) WHERE done_at IS NULL;

-- The signals that any checklist has ever waited for: an event of another name asks for nothing.
CREATE TABLE awaited_signals (signal text PRIMARY KEY);

-- A link of a message that was followed, so that a second look within a short time is none.
CREATE TABLE clicks (
    message      text NOT NULL,
    link         int NOT NULL,
    first_at     timestamptz NOT NULL,
    last_at      timestamptz NOT NULL,
    times        int NOT NULL DEFAULT 1,
    PRIMARY KEY (message, link)
);
"""
DOWN = """
DROP TABLE clicks;
DROP TABLE awaited_signals;
DROP TABLE checklist_items;
DROP INDEX inbox_changed;
ALTER TABLE inbox DROP COLUMN changed, DROP COLUMN place;
"""


def _run(statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            op.execute(statement)


def upgrade() -> None:
    """Add what checklists, pages, streams and clicks need."""
    _run(UP)


def downgrade() -> None:
    """Take it back; ticks and clicks are lost, events and messages are not."""
    _run(DOWN)
