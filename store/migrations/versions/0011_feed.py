"""The feed of decisions and deliveries, and the trace of what caused them.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# A trace is kept with an event only where it is not the event's own (`journeys/events/tracing.py`).
TRACES = """
ALTER TABLE events ADD COLUMN trace uuid;
CREATE INDEX events_of_trace ON events (trace) WHERE trace IS NOT NULL;
ALTER TABLE outbox ADD COLUMN trace uuid;
ALTER TABLE timeline ADD COLUMN trace uuid;
ALTER TABLE messages ADD COLUMN trace uuid;
CREATE INDEX messages_of_trace ON messages (trace) WHERE trace IS NOT NULL;
"""

# What changes in a ledger row is copied as it was, in the same transaction and by whatever statement: no rule is here, and
# nothing that changes a message can forget it. `was` is the status before; `decided` says that the gate has spoken.
FEED = """
CREATE TABLE feed (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    message      bigint NOT NULL,
    was          text,
    status       text NOT NULL,
    decided      boolean NOT NULL,
    attempt      int NOT NULL,
    channel      text,
    until        timestamptz,
    reasons      jsonb,
    whole        text,
    event        bigint
);
CREATE INDEX feed_of_message ON feed (message);

-- How far the receiver has everything, and the batch that is being brought to it: its end is fixed before the first try.
CREATE TABLE feed_push (
    one          boolean PRIMARY KEY DEFAULT true CHECK (one),
    position     bigint NOT NULL DEFAULT 0,
    upto         bigint,
    attempts     int NOT NULL DEFAULT 0,
    due_at       timestamptz,
    last_error   text,
    pushed_at    timestamptz
);
INSERT INTO feed_push DEFAULT VALUES;

INSERT INTO feed (at, message, status, decided, attempt, channel, until, reasons, whole)
SELECT coalesce(settled_at, decided_at), id, status, true, attempts, channel, due_at, reasons, merged_into
FROM messages ORDER BY id;
"""
OF_MESSAGES = """
CREATE FUNCTION feed_of_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO feed (message, was, status, decided, attempt, channel, until, reasons, whole)
  VALUES (NEW.id, OLD.status, NEW.status, OLD.decided_at IS DISTINCT FROM NEW.decided_at, NEW.attempts, NEW.channel,
          NEW.due_at, NEW.reasons, NEW.merged_into);
  RETURN NULL;
END $$
"""
TRIGGERS = """
CREATE TRIGGER messages_fed AFTER INSERT ON messages FOR EACH ROW EXECUTE FUNCTION feed_of_message();
CREATE TRIGGER messages_fed_again AFTER UPDATE OF status, attempts, decided_at, reasons ON messages FOR EACH ROW
WHEN (OLD.status <> NEW.status OR OLD.attempts <> NEW.attempts OR OLD.decided_at <> NEW.decided_at
      OR OLD.reasons IS DISTINCT FROM NEW.reasons)
EXECUTE FUNCTION feed_of_message();
"""
DOWN = """
DROP TRIGGER messages_fed_again ON messages;
DROP TRIGGER messages_fed ON messages;
DROP FUNCTION feed_of_message;
DROP TABLE feed_push;
DROP TABLE feed;
ALTER TABLE messages DROP COLUMN trace;
ALTER TABLE timeline DROP COLUMN trace;
ALTER TABLE outbox DROP COLUMN trace;
ALTER TABLE events DROP COLUMN trace;
"""


def _run(statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            op.execute(statement)


def upgrade() -> None:
    """What is in the ledger already is in the feed once, as it stands."""
    _run(TRACES)
    _run(FEED)
    op.execute(OF_MESSAGES)
    _run(TRIGGERS)


def downgrade() -> None:
    """The feed is forgotten, with how far it was pushed; the ledger is not."""
    _run(DOWN)
