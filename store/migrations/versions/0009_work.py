"""Tasks: routing, joined asks, deadlines that move, reminders, a log; holds.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

UP = """
-- `scope_key` is the account, or the person who has none; `reason` is what the work is about. `named` is whom the journey
-- named, `owner` who has it, `why` how that came about. `within` is working time, where the deadline is counted so.
ALTER TABLE tasks
  ADD COLUMN scope_key       text,
  ADD COLUMN reason          text NOT NULL DEFAULT '',
  ADD COLUMN account_key     text,
  ADD COLUMN named           text,
  ADD COLUMN team            text,
  ADD COLUMN why             text NOT NULL DEFAULT 'as the journey says',
  ADD COLUMN within          text,
  ADD COLUMN remind_at       timestamptz,
  ADD COLUMN reminded_at     timestamptz,
  ADD COLUMN snoozed_until   timestamptz,
  ADD COLUMN first_action_at timestamptz,
  ADD COLUMN closed_by       text,
  ADD COLUMN clock           text;
UPDATE tasks SET named = owner, reason = task;
CREATE UNIQUE INDEX tasks_one_open ON tasks (scope_key, reason) WHERE status = 'open' AND scope_key IS NOT NULL;
CREATE INDEX tasks_to_remind ON tasks (remind_at) WHERE status = 'open' AND remind_at IS NOT NULL;
CREATE INDEX tasks_of_account ON tasks (account_key, id) WHERE account_key IS NOT NULL;

-- Whoever asked for a task: one row for each ask of a run. The task stays open while one of them does.
CREATE TABLE task_asks (
    key          text PRIMARY KEY,
    task_id      bigint NOT NULL REFERENCES tasks (id),
    run          text NOT NULL,
    action       text NOT NULL,
    status       text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'closed', 'withdrawn')),
    asked_at     timestamptz NOT NULL,
    ended_at     timestamptz
);
CREATE INDEX task_asks_of_task ON task_asks (task_id);
CREATE INDEX task_asks_of_run ON task_asks (run, action) WHERE status = 'open';
INSERT INTO task_asks (key, task_id, run, action, status, asked_at, ended_at)
  SELECT key, id, run, action, status, opened_at, closed_at FROM tasks;

-- What happened to a task, by whom and why. It only grows.
CREATE TABLE task_log (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id      bigint NOT NULL REFERENCES tasks (id),
    at           timestamptz NOT NULL,
    kind         text NOT NULL,
    by           text NOT NULL,
    text         text NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX task_log_of_task ON task_log (task_id, id);

-- A task's copy in a CRM, stale while `version` is more than what was pushed; every line of the log adds one.
CREATE TABLE task_mirrors (
    task_id      bigint NOT NULL REFERENCES tasks (id),
    mirror       text NOT NULL,
    reference    text,
    version      bigint NOT NULL DEFAULT 1,
    pushed       bigint NOT NULL DEFAULT 0,
    reopens      boolean NOT NULL DEFAULT false,
    attempts     int NOT NULL DEFAULT 0,
    next_at      timestamptz NOT NULL DEFAULT '-infinity',
    last_error   text,
    PRIMARY KEY (task_id, mirror)
);
CREATE INDEX task_mirrors_stale ON task_mirrors (mirror, next_at) WHERE version > pushed;

-- To whom the last task of a team went.
CREATE TABLE turns (
    team         text PRIMARY KEY,
    person       text NOT NULL
);

-- While a person of ours holds an account or somebody in it, automation waits. A hold ends by itself.
CREATE TABLE holds (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject_key  text NOT NULL,
    clock        text,
    since        timestamptz NOT NULL,
    until        timestamptz NOT NULL,
    by           text NOT NULL,
    why          text NOT NULL,
    released_at  timestamptz,
    released_by  text
);
CREATE UNIQUE INDEX holds_standing ON holds (subject_key) WHERE released_at IS NULL
"""
DOWN = """
DROP TABLE holds;
DROP TABLE turns;
DROP TABLE task_mirrors;
DROP TABLE task_log;
DROP TABLE task_asks;
ALTER TABLE tasks
  DROP COLUMN scope_key, DROP COLUMN reason, DROP COLUMN account_key, DROP COLUMN named, DROP COLUMN team, DROP COLUMN why,
  DROP COLUMN within, DROP COLUMN remind_at, DROP COLUMN reminded_at, DROP COLUMN snoozed_until, DROP COLUMN first_action_at,
  DROP COLUMN closed_by, DROP COLUMN clock
"""


def upgrade() -> None:
    """What a task needs to find its person, to be put off, and to be asked for twice."""
    _run(UP)


def downgrade() -> None:
    """Tasks as they were; who else had asked, holds and the log are lost."""
    _run(DOWN)


def _run(statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            op.execute(statement)
