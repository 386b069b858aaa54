"""Indexes of what a million runs would have read whole tables for.

Revision ID: 0031
Revises: 0030
"""

from __future__ import annotations

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

_NEW = (
    "CREATE INDEX messages_by_status ON messages (status, id) WHERE status NOT IN ('sending', 'sent')",
    "DROP INDEX messages_troubled",
    "DROP INDEX consent_log_listed",
    "CREATE INDEX consent_log_listed ON consent_log (effect, id) WHERE effect <> 'applied'",
    "CREATE INDEX tasks_of_subject ON tasks (subject_key)",
    "CREATE INDEX tasks_of_scope ON tasks (scope_key) WHERE scope_key IS NOT NULL",
    "CREATE INDEX tasks_load ON tasks (owner) WHERE status = 'open' AND clock IS NULL",
    "DROP INDEX task_asks_of_run",
    "CREATE INDEX task_asks_of_run ON task_asks (run, action)",
)
_OLD = (
    "DROP INDEX task_asks_of_run",
    "CREATE INDEX task_asks_of_run ON task_asks (run, action) WHERE status = 'open'",
    "DROP INDEX tasks_load",
    "DROP INDEX tasks_of_scope",
    "DROP INDEX tasks_of_subject",
    "DROP INDEX consent_log_listed",
    "CREATE INDEX consent_log_listed ON consent_log (effect, id) WHERE effect IN ('late', 'protected', 'stale')",
    "CREATE INDEX messages_troubled ON messages (status, id) WHERE status IN ('failed', 'unknown')",
    "DROP INDEX messages_by_status",
)


def upgrade() -> None:
    """Index messages by status, statements by effect, and tasks by subject, scope and owner."""
    for statement in _NEW:
        op.execute(statement)


def downgrade() -> None:
    """Read the tables."""
    for statement in _OLD:
        op.execute(statement)
