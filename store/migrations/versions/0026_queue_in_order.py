"""Order, reasons and visit of queued messages in the gate's read.

Revision ID: 0026
Revises: 0025
"""

from __future__ import annotations

from store.migrations.functions import replace_in_function

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_RULES = """\
    (SELECT json_agg(json_build_array(m.key, m.due_at, m.via, m.topic, m.priority, m.action, m.journey,
                                      jsonb_path_query_array(m.reasons, '$[*].rule'), m.expires_at))
     FROM messages m WHERE m.recipient = person AND m.status = 'deferred'),"""
_IN_ORDER = """\
    (SELECT json_agg(json_build_array(m.key, m.due_at, m.at, m.via, m.topic, m.priority, m.action, m.journey, m.reasons,
                                      m.expires_at, m.detail IS NOT NULL OR m.in_doubt, m.id,
                                      json_build_array(m.state, m.visit, m.stands), r.status = 'open', r.state, r.visit))
     FROM messages m JOIN runs r ON r.id = m.run WHERE m.recipient = person AND m.status = 'deferred'),"""


def upgrade() -> None:
    """Read the queue with what the order of messages needs."""
    replace_in_function("gate_reads", (_RULES, _IN_ORDER))


def downgrade() -> None:
    """Read the rules that messages wait for."""
    replace_in_function("gate_reads", (_IN_ORDER, _RULES))
