"""Test clocks that stand still and are advanced, and what their driver reads.

An existing clock stands at the instant that it shows; its origin, speed and limit are gone. Outbox rows of subjects on a
clock belong to its driver. Runs get a number; existing runs get it in no particular order.

Revision ID: 0018
Revises: 0017
"""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_CLOCKS = """
ALTER TABLE clocks ADD COLUMN now timestamptz, ADD COLUMN target timestamptz,
  ADD COLUMN status text DEFAULT 'ready' NOT NULL CONSTRAINT clocks_status_check
    CHECK (status IN ('ready', 'advancing', 'stuck')),
  ADD COLUMN error text, ADD COLUMN progressed_at timestamptz DEFAULT clock_timestamp() NOT NULL;
UPDATE clocks SET now = least(limit_at, origin + (clock_timestamp() - started_at) * speed);
UPDATE clocks SET target = now;
ALTER TABLE clocks ALTER COLUMN now SET NOT NULL, ALTER COLUMN target SET NOT NULL,
  DROP COLUMN origin, DROP COLUMN started_at, DROP COLUMN speed, DROP COLUMN limit_at,
  ADD CONSTRAINT clocks_target_check CHECK (target >= now),
  ADD CONSTRAINT clocks_ready_check CHECK (status <> 'ready' OR target = now),
  ADD CONSTRAINT clocks_error_check CHECK ((status = 'stuck') = (error IS NOT NULL));
CREATE INDEX subjects_on_clock ON subjects (clock, key) WHERE clock IS NOT NULL
"""
_OUTBOX = """
ALTER TABLE outbox ADD COLUMN clock text;
UPDATE outbox SET clock = s.clock FROM subjects s
  WHERE s.key = outbox.recipient AND s.clock IS NOT NULL AND outbox.delivered_at IS NULL;
DELETE FROM outbox WHERE clock IS NOT NULL AND kind = 'wake';
DROP INDEX outbox_waiting;
DROP INDEX outbox_waiting_of;
DROP INDEX outbox_waiting_own;
CREATE INDEX outbox_waiting ON outbox (id) WHERE delivered_at IS NULL AND clock IS NULL;
CREATE INDEX outbox_waiting_of ON outbox (recipient, seq) WHERE delivered_at IS NULL AND clock IS NULL;
CREATE INDEX outbox_waiting_own ON outbox (recipient)
  WHERE delivered_at IS NULL AND clock IS NULL AND copy_of IS NULL;
CREATE INDEX outbox_on_clock ON outbox (clock, recipient, id) WHERE delivered_at IS NULL AND clock IS NOT NULL
"""
_MESSAGES = """
ALTER TABLE messages ADD COLUMN clock text;
UPDATE messages SET clock = s.clock FROM subjects s WHERE s.key = messages.recipient AND s.clock IS NOT NULL;
DROP INDEX messages_by_journey;
CREATE INDEX messages_by_journey ON messages (journey, sent_at) WHERE sent_at IS NOT NULL AND clock IS NULL;
CREATE INDEX messages_on_clock ON messages (clock) WHERE status IN ('deferred', 'sending') AND clock IS NOT NULL
"""
_DUE = """
ALTER TABLE runs ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;
CREATE INDEX runs_due_on_clock ON runs (clock, next_due_at) WHERE status = 'open' AND clock IS NOT NULL;
CREATE INDEX tasks_on_clock ON tasks (clock) WHERE status = 'open' AND clock IS NOT NULL;
ALTER TABLE turns ADD COLUMN scope text DEFAULT '' NOT NULL, DROP CONSTRAINT turns_pkey,
  ADD CONSTRAINT turns_pkey PRIMARY KEY (team, scope)
"""


def upgrade() -> None:
    """One statement at a time: SQLAlchemy takes no script."""
    for script in (_CLOCKS, _OUTBOX, _MESSAGES, _DUE):
        for statement in script.split(";\n"):
            op.execute(statement)


def downgrade() -> None:
    """A clock that stands has no speed to go back to."""
    raise NotImplementedError("speed and limit of a test clock are gone")
