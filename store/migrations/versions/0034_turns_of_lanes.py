"""Lanes are claimed by urgency and age; held events say whom they name.

Revision ID: 0034
Revises: 0033
"""

from __future__ import annotations

from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

_NEW = (
    "ALTER TABLE runs ADD COLUMN priority smallint NOT NULL DEFAULT 2",
    "ALTER TABLE outbox ADD COLUMN urgency smallint NOT NULL DEFAULT 4",
    """ALTER TABLE outbox ADD COLUMN turn_at timestamptz NOT NULL
         DEFAULT date_bin('00:00:10'::interval, now(), '2000-01-01 00:00:00+00'::timestamptz)""",
    "ALTER TABLE outbox ADD COLUMN rests boolean NOT NULL DEFAULT false",
    "UPDATE outbox SET urgency = 5 WHERE copy_of IS NOT NULL AND delivered_at IS NULL",
    "DROP INDEX outbox_waiting_own",
    """CREATE INDEX outbox_turns ON outbox (urgency, turn_at, recipient)
         WHERE delivered_at IS NULL AND clock IS NULL AND rests IS false""",
    "ALTER TABLE quarantine ADD COLUMN named text[] NOT NULL DEFAULT '{}'",
    r"""UPDATE quarantine SET named = ARRAY(
           SELECT DISTINCT kind || ':' || btrim(id, E' \t\r\n') FROM (VALUES
             ('user', event ->> 'userId'), ('user', event ->> 'anonymousId'), ('user', event ->> 'previousId'),
             ('user', event ->> 'user'), ('account', event ->> 'groupId'), ('account', event ->> 'account'),
             ('account', event #>> '{context,groupId}')) AS ids (kind, id)
           WHERE btrim(id, E' \t\r\n') <> '' AND length(id) <= 255)
         WHERE status = 'held'""",
    "CREATE INDEX quarantine_named ON quarantine USING gin (named) WHERE status = 'held'",
)
_OLD = (
    "ALTER TABLE quarantine DROP COLUMN named",
    "DROP INDEX outbox_turns",
    "CREATE INDEX outbox_waiting_own ON outbox (recipient) WHERE delivered_at IS NULL AND clock IS NULL AND copy_of IS NULL",
    "ALTER TABLE outbox DROP COLUMN rests",
    "ALTER TABLE outbox DROP COLUMN turn_at",
    "ALTER TABLE outbox DROP COLUMN urgency",
    "ALTER TABLE runs DROP COLUMN priority",
)


def upgrade() -> None:
    """Give rows their urgency and turn; what waits has the priority of lifecycle messages."""
    for statement in _NEW:
        op.execute(statement)


def downgrade() -> None:
    """Claim lanes by their recipient."""
    for statement in _OLD:
        op.execute(statement)
