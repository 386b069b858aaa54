"""Sender refusals, and suppressions that end.

Revision ID: 0033
Revises: 0032
"""

from __future__ import annotations

from alembic import op

from store.migrations.functions import replace_in_function

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

_NEW = (
    """CREATE TABLE sender_refusals (
         id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
         channel text NOT NULL,
         code text NOT NULL,
         times integer NOT NULL DEFAULT 1,
         places text[] NOT NULL DEFAULT '{}',
         recent integer NOT NULL DEFAULT 1,
         recent_since timestamptz NOT NULL DEFAULT clock_timestamp(),
         opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
         last_at timestamptz NOT NULL DEFAULT clock_timestamp(),
         stopped_at timestamptz,
         closed_at timestamptz,
         closed_by text)""",
    "CREATE UNIQUE INDEX sender_refusals_open ON sender_refusals (channel, code) WHERE closed_at IS NULL",
)
_IN_FORCE = "AND a.lifted_at IS NULL),"
_IN_FORCE_NOW = """AND a.lifted_at IS NULL
     AND (a.ends_at IS NULL OR a.ends_at > gate_reads.at)),"""


def upgrade() -> None:
    """Keep sender refusals, and have the gate read the end of a suppression."""
    for statement in _NEW:
        op.execute(statement)
    op.execute("ALTER TABLE suppressions ADD COLUMN ends_at timestamptz")
    replace_in_function("gate_reads", (_IN_FORCE, _IN_FORCE_NOW))


def downgrade() -> None:
    """Forget the refusals; suppressions that would end are lifted, because nothing else would end them."""
    replace_in_function("gate_reads", (_IN_FORCE_NOW, _IN_FORCE))
    op.execute(
        "UPDATE suppressions SET lifted_at = ends_at, lifted_by = 'its end' WHERE lifted_at IS NULL AND ends_at IS NOT NULL"
    )
    op.execute("ALTER TABLE suppressions DROP COLUMN ends_at")
    op.execute("DROP TABLE sender_refusals")
