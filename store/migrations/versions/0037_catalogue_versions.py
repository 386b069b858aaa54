"""Versions of the catalogue with their files.

Without one, each process reads the folder that its settings name, as before.

Revision ID: 0037
Revises: 0036
"""

from __future__ import annotations

from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

_UP = (
    """
    CREATE TABLE catalogue_versions (
      number integer NOT NULL, hash text NOT NULL, published_at timestamptz DEFAULT now() NOT NULL, published_by text NOT NULL,
      CONSTRAINT catalogue_versions_pkey PRIMARY KEY (number))
    """,
    """
    CREATE TABLE catalogue_files (
      version integer NOT NULL CONSTRAINT catalogue_files_version_fkey REFERENCES catalogue_versions (number),
      path text NOT NULL, content bytea NOT NULL, CONSTRAINT catalogue_files_pkey PRIMARY KEY (version, path))
    """,
    """
    ALTER TABLE catalogue ADD COLUMN version integer
      CONSTRAINT catalogue_version_fkey REFERENCES catalogue_versions (number)
    """,
)
_DOWN = (
    "ALTER TABLE catalogue DROP COLUMN version",
    "DROP TABLE catalogue_files",
    "DROP TABLE catalogue_versions",
)


def upgrade() -> None:
    """Keep what is published together."""
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    """Read the folder again."""
    for statement in _DOWN:
        op.execute(statement)
