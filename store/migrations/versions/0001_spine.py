"""The spine: subjects, events, outbox, runs, timeline, ledger, tasks, consent, clocks.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
-- A person or an account. `seq` numbers what is sent to its runs; `decided_at` is the latest instant up to which one
-- of its runs has decided its timers: an event accepted later cannot be earlier than that.
CREATE TABLE subjects (
    key          text PRIMARY KEY,
    kind         text NOT NULL CHECK (kind IN ('user', 'account')),
    seq          bigint NOT NULL DEFAULT 0,
    decided_at   timestamptz,
    clock        text,
    profile      jsonb NOT NULL DEFAULT '{}',
    account_key  text,
    merged_into  text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX subjects_of_account ON subjects (account_key) WHERE account_key IS NOT NULL;

CREATE TABLE identities (
    kind         text NOT NULL,
    value        text NOT NULL,
    subject_key  text NOT NULL,
    PRIMARY KEY (kind, value)
);
CREATE INDEX identities_of_subject ON identities (subject_key);


CREATE TABLE events (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source       text NOT NULL,
    message_id   text NOT NULL,
    kind         text NOT NULL,
    name         text NOT NULL,
    subject_key  text NOT NULL,
    at           timestamptz NOT NULL,
    received_at  timestamptz NOT NULL,
    data         jsonb NOT NULL,
    context      jsonb,
    UNIQUE (source, message_id)
);
CREATE INDEX events_of_subject ON events (subject_key, id);

CREATE TABLE quarantine (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source       text NOT NULL,
    message_id   text NOT NULL,
    name         text NOT NULL,
    faults       jsonb NOT NULL,
    event        jsonb NOT NULL,
    received_at  timestamptz NOT NULL,
    status       text NOT NULL DEFAULT 'held' CHECK (status IN ('held', 'replayed', 'discarded')),
    settled_at   timestamptz,
    UNIQUE (source, message_id)
);
CREATE INDEX quarantine_held ON quarantine (id) WHERE status = 'held';

-- What must reach runs: one recipient and its next `seq`. Rows stay a while after delivery, because a timer's step asks
-- what was accepted before it decides (design §4).
CREATE TABLE outbox (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recipient    text NOT NULL,
    seq          bigint NOT NULL,
    kind         text NOT NULL,
    name         text NOT NULL DEFAULT '',
    event_id     text NOT NULL,
    at           timestamptz NOT NULL,
    data         jsonb NOT NULL DEFAULT '{}',
    facts        jsonb,
    target       text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz,
    UNIQUE (recipient, seq)
);
CREATE INDEX outbox_waiting ON outbox (id) WHERE delivered_at IS NULL;
CREATE INDEX outbox_delivered ON outbox (delivered_at) WHERE delivered_at IS NOT NULL;

-- The relay claims a lane, never a row, so a recipient's order holds.
CREATE TABLE lanes (
    recipient    text PRIMARY KEY,
    ready_at     timestamptz NOT NULL DEFAULT '-infinity',
    attempts     int NOT NULL DEFAULT 0,
    last_error   text
);

-- Definitions are texts: their authored order decides ties, and jsonb would lose it.
CREATE TABLE definitions (
    hash         text PRIMARY KEY,
    journey      text NOT NULL,
    version      int NOT NULL,
    artifact     text NOT NULL,
    source       text NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now(),
    published_by text NOT NULL,
    UNIQUE (journey, version)
);
CREATE TABLE journeys (
    key          text PRIMARY KEY,
    hash         text NOT NULL REFERENCES definitions,
    live         boolean NOT NULL DEFAULT true
);
CREATE TABLE catalogue (one boolean PRIMARY KEY DEFAULT true CHECK (one), edition bigint NOT NULL DEFAULT 1);
INSERT INTO catalogue DEFAULT VALUES;

-- Inserted in the commit of the event that opens the run: this row is the index.
CREATE TABLE runs (
    id           text PRIMARY KEY,
    journey      text NOT NULL,
    definition   text NOT NULL,
    subject_key  text NOT NULL,
    case_key     text NOT NULL DEFAULT '',
    epoch        int NOT NULL,
    lane         text NOT NULL,
    entered_seq  bigint NOT NULL,
    clock        text,
    status       text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'closed')),
    paused       boolean NOT NULL DEFAULT false,
    state        text,
    visit        int,
    outcome      text,
    started_at   timestamptz NOT NULL,
    entered_at   timestamptz,
    last_at      timestamptz,
    next_due_at  timestamptz,
    ended_at     timestamptz,
    step         int NOT NULL DEFAULT 0,
    memory       jsonb NOT NULL DEFAULT '{}',
    UNIQUE (journey, subject_key, case_key, epoch)
);
CREATE INDEX runs_open ON runs (lane) WHERE status = 'open';
CREATE INDEX runs_open_of ON runs (definition) WHERE status = 'open';
CREATE INDEX runs_of_lane ON runs (lane, journey, case_key, epoch DESC);
CREATE INDEX runs_of_subject ON runs (subject_key);
CREATE INDEX runs_due ON runs (next_due_at) WHERE status = 'open';

CREATE TABLE timeline (
    run          text NOT NULL,
    step         int NOT NULL,
    n            int NOT NULL,
    at           timestamptz NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    kind         text NOT NULL,
    about        text NOT NULL,
    text         text NOT NULL,
    PRIMARY KEY (run, step, n)
);

-- The ledger. A send is the commit of `sending`.
CREATE TABLE messages (
    key          text PRIMARY KEY,
    id           bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    run          text NOT NULL,
    step         int NOT NULL,
    subject_key  text NOT NULL,
    recipient    text NOT NULL,
    journey      text NOT NULL,
    state        text NOT NULL,
    visit        int NOT NULL,
    action       text NOT NULL,
    template     text NOT NULL,
    via          jsonb NOT NULL,
    topic        text,
    priority     text NOT NULL,
    data         jsonb NOT NULL DEFAULT '{}',
    stands       boolean NOT NULL DEFAULT false,
    at           timestamptz NOT NULL,
    expires_at   timestamptz,
    status       text NOT NULL CHECK (status IN
                   ('deferred', 'sending', 'sent', 'failed', 'unknown', 'withheld', 'withdrawn', 'expired')),
    reasons      jsonb NOT NULL DEFAULT '[]',
    channel      text,
    due_at       timestamptz,
    attempts     int NOT NULL DEFAULT 0,
    lease_until  timestamptz,
    reference    text,
    address      text,
    body         bytea,
    summary      jsonb,
    detail       text,
    decided_at   timestamptz NOT NULL,
    sent_at      timestamptz,
    settled_at   timestamptz
);
CREATE INDEX messages_of_run ON messages (run);
CREATE INDEX messages_of_recipient ON messages (recipient, id);
CREATE INDEX messages_counted ON messages (recipient, sent_at) WHERE status IN ('sending', 'sent', 'unknown');
CREATE INDEX messages_due ON messages (recipient, due_at) WHERE status IN ('deferred', 'sending');

CREATE TABLE inbox (
    key          text PRIMARY KEY,
    id           bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    recipient    text NOT NULL,
    content      jsonb NOT NULL,
    created_at   timestamptz NOT NULL,
    seen_at      timestamptz,
    acted_at     timestamptz,
    dismissed_at timestamptz
);
CREATE INDEX inbox_of_recipient ON inbox (recipient, id);

CREATE TABLE tasks (
    key          text PRIMARY KEY,
    id           bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    run          text NOT NULL,
    subject_key  text NOT NULL,
    journey      text NOT NULL,
    action       text NOT NULL,
    task         text NOT NULL,
    owner        text NOT NULL,
    level        int NOT NULL DEFAULT 0,
    data         jsonb NOT NULL DEFAULT '{}',
    status       text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'closed', 'withdrawn')),
    resolution   text,
    opened_at    timestamptz NOT NULL,
    due_at       timestamptz,
    closed_at    timestamptz
);
CREATE INDEX tasks_open ON tasks (owner, due_at) WHERE status = 'open';
CREATE INDEX tasks_of_run ON tasks (run, action);

CREATE TABLE audiences (
    audience     text NOT NULL,
    subject_key  text NOT NULL,
    changed_at   timestamptz NOT NULL,
    member       boolean NOT NULL,
    PRIMARY KEY (audience, subject_key)
);

CREATE TABLE consents (
    subject_key  text NOT NULL,
    channel      text NOT NULL,
    topic        text NOT NULL,
    granted      boolean NOT NULL,
    source       text NOT NULL,
    at           timestamptz NOT NULL,
    PRIMARY KEY (subject_key, channel, topic)
);
CREATE TABLE consent_log (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject_key  text NOT NULL,
    channel      text NOT NULL,
    topic        text NOT NULL,
    granted      boolean NOT NULL,
    source       text NOT NULL,
    at           timestamptz NOT NULL
);

-- Open urgent tickets of a person or an account; the gate looks here (C6).
CREATE TABLE tickets (
    subject_key  text NOT NULL,
    ticket_id    text NOT NULL,
    opened_at    timestamptz NOT NULL,
    resolved_at  timestamptz,
    PRIMARY KEY (subject_key, ticket_id)
);

CREATE TABLE dead_letters (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run          text NOT NULL,
    step         int NOT NULL,
    n            int NOT NULL,
    name         text NOT NULL,
    reason       text NOT NULL,
    payload      text NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    status       text NOT NULL DEFAULT 'held',
    UNIQUE (run, step, n)
);

-- Virtual instant = origin + (real - started_at) * speed, never past limit_at.
CREATE TABLE clocks (
    id           text PRIMARY KEY,
    origin       timestamptz NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    speed        double precision NOT NULL CHECK (speed > 0),
    limit_at     timestamptz NOT NULL
);
"""


def upgrade() -> None:
    """Create the tables."""
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    """The first migration has nothing to go back to."""
    raise NotImplementedError("there is nothing before the first migration")
