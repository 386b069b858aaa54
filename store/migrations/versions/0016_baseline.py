"""The schema as one script, `0016_baseline.sql`: tables, indexes, functions, triggers, first rows.

Migrations are append-only from here on. A database of revision 0016 made by the sixteen migrations that this one
replaced is the same.

Revision ID: 0016
Revises:
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0016"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the script as a whole: the driver takes many statements at once, SQLAlchemy one."""
    script = Path(__file__).with_suffix(".sql").read_text("utf-8")
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda driver: driver.execute(script))


def downgrade() -> None:
    """There is nothing before it."""
    raise NotImplementedError("there is nothing before the first migration")
