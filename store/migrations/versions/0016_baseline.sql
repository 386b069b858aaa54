-- The schema as of revision 0016, all of it. Frozen: a change is a new migration, and `store/schema` has what is current.

CREATE TABLE audience_syncs (
    destination text NOT NULL,
    audience text NOT NULL,
    subject_key text NOT NULL,
    hashed text NOT NULL,
    member boolean NOT NULL,
    synced_at timestamptz NOT NULL,
    digests text[] DEFAULT '{}' NOT NULL,
    CONSTRAINT audience_syncs_pkey PRIMARY KEY (destination, audience, subject_key)
);

CREATE TABLE audiences (
    audience text NOT NULL,
    subject_key text NOT NULL,
    changed_at timestamptz NOT NULL,
    member boolean NOT NULL,
    journey text,
    CONSTRAINT audiences_pkey PRIMARY KEY (audience, subject_key)
);
CREATE INDEX audiences_members ON audiences (audience, subject_key) WHERE member;

CREATE TABLE awaited_signals (
    signal text NOT NULL,
    CONSTRAINT awaited_signals_pkey PRIMARY KEY (signal)
);

CREATE TABLE catalogue (
    one boolean DEFAULT true NOT NULL CONSTRAINT catalogue_one_check CHECK (one),
    edition bigint DEFAULT 1 NOT NULL,
    CONSTRAINT catalogue_pkey PRIMARY KEY (one)
);

CREATE TABLE clicks (
    message text NOT NULL,
    link integer NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    times integer DEFAULT 1 NOT NULL,
    CONSTRAINT clicks_pkey PRIMARY KEY (message, link)
);

CREATE TABLE clocks (
    id text NOT NULL,
    origin timestamptz NOT NULL,
    started_at timestamptz DEFAULT now() NOT NULL,
    speed double precision NOT NULL CONSTRAINT clocks_speed_check CHECK (speed > 0),
    limit_at timestamptz NOT NULL,
    CONSTRAINT clocks_pkey PRIMARY KEY (id)
);

CREATE TABLE consent_log (
    id bigint GENERATED ALWAYS AS IDENTITY,
    subject_key text NOT NULL,
    channel text NOT NULL,
    topic text NOT NULL,
    granted boolean,
    pending boolean DEFAULT false NOT NULL,
    source text NOT NULL,
    wording text DEFAULT '' NOT NULL,
    proof jsonb DEFAULT '{}' NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT consent_log_pkey PRIMARY KEY (id),
    CONSTRAINT consent_log_check CHECK (granted OR NOT pending)
);
CREATE INDEX consent_log_of_subject ON consent_log (subject_key, id);

CREATE TABLE consent_requests (
    id bigint GENERATED ALWAYS AS IDENTITY,
    subject_key text NOT NULL,
    channel text NOT NULL,
    topic text NOT NULL,
    source text NOT NULL,
    wording text NOT NULL,
    proof jsonb NOT NULL,
    at timestamptz NOT NULL,
    asked_at timestamptz DEFAULT now() NOT NULL,
    confirmed_at timestamptz,
    refused_at timestamptz,
    CONSTRAINT consent_requests_pkey PRIMARY KEY (id)
);
CREATE INDEX consent_requests_open ON consent_requests (subject_key) WHERE confirmed_at IS NULL AND refused_at IS NULL;

CREATE TABLE consents (
    subject_key text NOT NULL,
    channel text NOT NULL,
    topic text NOT NULL,
    granted boolean NOT NULL,
    source text NOT NULL,
    at timestamptz NOT NULL,
    wording text DEFAULT '' NOT NULL,
    CONSTRAINT consents_pkey PRIMARY KEY (subject_key, channel, topic)
);

CREATE TABLE dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY,
    run text NOT NULL,
    step integer NOT NULL,
    n integer NOT NULL,
    name text NOT NULL,
    reason text NOT NULL,
    payload text NOT NULL,
    recorded_at timestamptz DEFAULT now() NOT NULL,
    status text DEFAULT 'held' NOT NULL,
    CONSTRAINT dead_letters_pkey PRIMARY KEY (id),
    CONSTRAINT dead_letters_run_step_n_key UNIQUE (run, step, n)
);

CREATE TABLE definitions (
    hash text NOT NULL,
    journey text NOT NULL,
    version integer NOT NULL,
    artifact text NOT NULL,
    source text NOT NULL,
    published_at timestamptz DEFAULT now() NOT NULL,
    published_by text NOT NULL,
    CONSTRAINT definitions_pkey PRIMARY KEY (hash),
    CONSTRAINT definitions_journey_version_key UNIQUE (journey, version)
);

CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY,
    source text NOT NULL,
    message_id text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    subject_key text NOT NULL,
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    data jsonb NOT NULL,
    context jsonb,
    trace uuid,
    CONSTRAINT events_pkey PRIMARY KEY (id),
    CONSTRAINT events_source_message_id_key UNIQUE (source, message_id)
);
CREATE INDEX events_of_subject ON events (subject_key, id);
CREATE INDEX events_of_trace ON events (trace) WHERE trace IS NOT NULL;

CREATE TABLE feed (
    id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz DEFAULT clock_timestamp() NOT NULL,
    message bigint NOT NULL,
    was text,
    status text NOT NULL,
    decided boolean NOT NULL,
    attempt integer NOT NULL,
    channel text,
    until timestamptz,
    reasons jsonb,
    whole text,
    event bigint,
    CONSTRAINT feed_pkey PRIMARY KEY (id)
);
CREATE INDEX feed_of_message ON feed (message);

CREATE TABLE feed_push (
    one boolean DEFAULT true NOT NULL CONSTRAINT feed_push_one_check CHECK (one),
    position bigint DEFAULT 0 NOT NULL,
    upto bigint,
    attempts integer DEFAULT 0 NOT NULL,
    due_at timestamptz,
    last_error text,
    pushed_at timestamptz,
    CONSTRAINT feed_push_pkey PRIMARY KEY (one)
);

CREATE TABLE holds (
    id bigint GENERATED ALWAYS AS IDENTITY,
    subject_key text NOT NULL,
    clock text,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    by text NOT NULL,
    why text NOT NULL,
    released_at timestamptz,
    released_by text,
    CONSTRAINT holds_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX holds_standing ON holds (subject_key) WHERE released_at IS NULL;

CREATE TABLE identities (
    kind text NOT NULL,
    value text NOT NULL,
    subject_key text NOT NULL,
    CONSTRAINT identities_pkey PRIMARY KEY (kind, value)
);
CREATE INDEX identities_of_subject ON identities (subject_key);

CREATE TABLE inbound_texts (
    source text NOT NULL,
    message_id text NOT NULL,
    at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT inbound_texts_pkey PRIMARY KEY (source, message_id)
);

CREATE TABLE inbox (
    key text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    recipient text NOT NULL,
    content jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    seen_at timestamptz,
    acted_at timestamptz,
    dismissed_at timestamptz,
    changed bigint DEFAULT CAST(CAST(pg_current_xact_id() AS text) AS bigint) NOT NULL,
    place text,
    CONSTRAINT inbox_pkey PRIMARY KEY (key),
    CONSTRAINT inbox_id_key UNIQUE (id)
);
CREATE INDEX inbox_changed ON inbox (recipient, changed);
CREATE INDEX inbox_of_recipient ON inbox (recipient, id);

CREATE TABLE lanes (
    recipient text NOT NULL,
    ready_at timestamptz DEFAULT '-infinity' NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    last_error text,
    CONSTRAINT lanes_pkey PRIMARY KEY (recipient)
);
CREATE INDEX lanes_resting ON lanes (ready_at) WHERE attempts > 0;

CREATE TABLE members (
    account_key text NOT NULL,
    person_key text NOT NULL,
    since timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT members_pkey PRIMARY KEY (account_key, person_key)
);
CREATE INDEX members_person ON members (person_key);

CREATE TABLE messages (
    key text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    run text NOT NULL,
    step integer NOT NULL,
    subject_key text NOT NULL,
    recipient text NOT NULL,
    journey text NOT NULL,
    state text NOT NULL,
    visit integer NOT NULL,
    action text NOT NULL,
    template text NOT NULL,
    via jsonb NOT NULL,
    topic text,
    priority text NOT NULL,
    data jsonb DEFAULT '{}' NOT NULL,
    stands boolean DEFAULT false NOT NULL,
    at timestamptz NOT NULL,
    expires_at timestamptz,
    status text NOT NULL CONSTRAINT messages_status_check CHECK (status IN ('deferred', 'sending', 'sent', 'failed', 'unknown', 'withheld', 'withdrawn', 'merged', 'replaced')),
    reasons jsonb DEFAULT '[]' NOT NULL,
    channel text,
    due_at timestamptz,
    attempts integer DEFAULT 0 NOT NULL,
    lease_until timestamptz,
    reference text,
    address text,
    body bytea,
    summary jsonb,
    detail text,
    decided_at timestamptz NOT NULL,
    first_attempt_at timestamptz,
    sent_at timestamptz,
    settled_at timestamptz,
    ready_at timestamptz,
    merged_into text,
    in_doubt boolean DEFAULT false NOT NULL,
    trace uuid,
    CONSTRAINT messages_pkey PRIMARY KEY (key),
    CONSTRAINT messages_id_key UNIQUE (id)
);
CREATE INDEX messages_by_address ON messages (channel, address, id) WHERE channel IN ('sms', 'webinar');
CREATE INDEX messages_by_journey ON messages (journey, sent_at) WHERE sent_at IS NOT NULL;
CREATE INDEX messages_by_reference ON messages (reference) WHERE reference IS NOT NULL AND channel != 'in_app';
CREATE INDEX messages_counted ON messages (recipient, sent_at) WHERE status IN ('sending', 'sent', 'unknown', 'merged') OR status = 'deferred' AND in_doubt;
CREATE INDEX messages_due ON messages (recipient, due_at) WHERE status IN ('deferred', 'sending');
CREATE INDEX messages_of_recipient ON messages (recipient, id);
CREATE INDEX messages_of_run ON messages (run);
CREATE INDEX messages_of_trace ON messages (trace) WHERE trace IS NOT NULL;
CREATE INDEX messages_parts ON messages (merged_into) WHERE merged_into IS NOT NULL;
CREATE INDEX messages_troubled ON messages (status, id) WHERE status IN ('failed', 'unknown');

CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY,
    recipient text NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL,
    name text DEFAULT '' NOT NULL,
    event_id text NOT NULL,
    at timestamptz NOT NULL,
    data jsonb DEFAULT '{}' NOT NULL,
    facts jsonb,
    target text,
    created_at timestamptz DEFAULT now() NOT NULL,
    delivered_at timestamptz,
    trace uuid,
    CONSTRAINT outbox_pkey PRIMARY KEY (id),
    CONSTRAINT outbox_recipient_seq_key UNIQUE (recipient, seq)
);
CREATE INDEX outbox_delivered ON outbox (delivered_at) WHERE delivered_at IS NOT NULL;
CREATE INDEX outbox_waiting ON outbox (id) WHERE delivered_at IS NULL;
CREATE INDEX outbox_waiting_of ON outbox (recipient, seq) WHERE delivered_at IS NULL;

CREATE TABLE quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY,
    source text NOT NULL,
    message_id text NOT NULL,
    name text NOT NULL,
    faults jsonb NOT NULL,
    event jsonb NOT NULL,
    received_at timestamptz NOT NULL,
    status text DEFAULT 'held' NOT NULL CONSTRAINT quarantine_status_check CHECK (status IN ('held', 'replayed', 'discarded')),
    settled_at timestamptz,
    CONSTRAINT quarantine_pkey PRIMARY KEY (id),
    CONSTRAINT quarantine_source_message_id_key UNIQUE (source, message_id)
);
CREATE INDEX quarantine_held ON quarantine (id) WHERE status = 'held';

CREATE TABLE runs (
    id text NOT NULL,
    journey text NOT NULL,
    definition text NOT NULL,
    subject_key text NOT NULL,
    case_key text DEFAULT '' NOT NULL,
    epoch integer NOT NULL,
    lane text NOT NULL,
    entered_seq bigint NOT NULL,
    joined_seq bigint DEFAULT 0 NOT NULL,
    clock text,
    status text DEFAULT 'open' NOT NULL CONSTRAINT runs_status_check CHECK (status IN ('open', 'closed')),
    paused boolean DEFAULT false NOT NULL,
    state text,
    visit integer,
    outcome text,
    started_at timestamptz NOT NULL,
    entered_at timestamptz,
    last_at timestamptz,
    next_due_at timestamptz,
    ended_at timestamptz,
    step integer DEFAULT 0 NOT NULL,
    memory jsonb DEFAULT '{}' NOT NULL,
    CONSTRAINT runs_pkey PRIMARY KEY (id),
    CONSTRAINT runs_journey_subject_key_case_key_epoch_key UNIQUE (journey, subject_key, case_key, epoch)
);
CREATE INDEX runs_due ON runs (next_due_at) WHERE status = 'open';
CREATE INDEX runs_moved ON runs (subject_key) WHERE status = 'open' AND lane != subject_key;
CREATE INDEX runs_of_lane ON runs (lane, journey, case_key, epoch DESC);
CREATE INDEX runs_of_subject ON runs (subject_key);
CREATE INDEX runs_open ON runs (lane) WHERE status = 'open';
CREATE INDEX runs_open_of ON runs (definition) WHERE status = 'open';
CREATE INDEX runs_quiet ON runs (id) WHERE status = 'open' AND (next_due_at IS NULL OR paused OR clock IS NOT NULL);

CREATE TABLE soft_bounces (
    digest text NOT NULL,
    reference text NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT soft_bounces_pkey PRIMARY KEY (digest, reference)
);

CREATE TABLE stops (
    id bigint GENERATED ALWAYS AS IDENTITY,
    scope text NOT NULL CONSTRAINT stops_scope_check CHECK (scope IN ('all', 'channel', 'journey', 'template')),
    name text DEFAULT '' NOT NULL,
    why text NOT NULL,
    by text NOT NULL,
    at timestamptz DEFAULT clock_timestamp() NOT NULL,
    released_at timestamptz,
    released_by text,
    CONSTRAINT stops_pkey PRIMARY KEY (id),
    CONSTRAINT stops_check CHECK ((scope = 'all') = (name = ''))
);
CREATE UNIQUE INDEX stops_thrown ON stops (scope, name) WHERE released_at IS NULL;

CREATE TABLE subjects (
    key text NOT NULL,
    kind text NOT NULL CONSTRAINT subjects_kind_check CHECK (kind IN ('user', 'account')),
    seq bigint DEFAULT 0 NOT NULL,
    decided_at timestamptz,
    clock text,
    profile jsonb DEFAULT '{}' NOT NULL,
    account_key text,
    merged_into text,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT subjects_pkey PRIMARY KEY (key)
);
CREATE INDEX subjects_by_phone ON subjects (regexp_replace(profile ->> 'phone', '[^0-9]', '', 'g')) WHERE (profile ->> 'phone') IS NOT NULL;
CREATE INDEX subjects_merged ON subjects (merged_into) WHERE merged_into IS NOT NULL;
CREATE INDEX subjects_of_account ON subjects (account_key) WHERE account_key IS NOT NULL;

CREATE TABLE suppressions (
    id bigint GENERATED ALWAYS AS IDENTITY,
    digest text NOT NULL,
    channel text NOT NULL,
    reason text NOT NULL CONSTRAINT suppressions_reason_check CHECK (reason IN ('hard_bounce', 'soft_bounces', 'complaint', 'stop_word', 'operator')),
    source text NOT NULL,
    at timestamptz NOT NULL,
    lifted_at timestamptz,
    lifted_by text,
    CONSTRAINT suppressions_pkey PRIMARY KEY (id)
);
CREATE INDEX suppressions_digest ON suppressions (digest);
CREATE UNIQUE INDEX suppressions_in_force ON suppressions (digest) WHERE lifted_at IS NULL;

CREATE TABLE tasks (
    key text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    run text NOT NULL,
    subject_key text NOT NULL,
    journey text NOT NULL,
    action text NOT NULL,
    task text NOT NULL,
    reason text DEFAULT '' NOT NULL,
    scope_key text,
    account_key text,
    named text,
    team text,
    owner text NOT NULL,
    why text DEFAULT 'as the journey says' NOT NULL,
    level integer DEFAULT 0 NOT NULL,
    data jsonb DEFAULT '{}' NOT NULL,
    status text DEFAULT 'open' NOT NULL CONSTRAINT tasks_status_check CHECK (status IN ('open', 'closed', 'withdrawn')),
    resolution text,
    opened_at timestamptz NOT NULL,
    due_at timestamptz,
    within text,
    remind_at timestamptz,
    reminded_at timestamptz,
    snoozed_until timestamptz,
    first_action_at timestamptz,
    closed_at timestamptz,
    closed_by text,
    clock text,
    CONSTRAINT tasks_pkey PRIMARY KEY (key),
    CONSTRAINT tasks_id_key UNIQUE (id)
);
CREATE INDEX tasks_of_account ON tasks (account_key, id) WHERE account_key IS NOT NULL;
CREATE INDEX tasks_of_run ON tasks (run, action);
CREATE UNIQUE INDEX tasks_one_open ON tasks (scope_key, reason) WHERE status = 'open' AND scope_key IS NOT NULL;
CREATE INDEX tasks_open ON tasks (owner, due_at) WHERE status = 'open';
CREATE INDEX tasks_to_remind ON tasks (remind_at) WHERE status = 'open' AND remind_at IS NOT NULL;

CREATE TABLE tickets (
    subject_key text NOT NULL,
    ticket_id text NOT NULL,
    opened_at timestamptz NOT NULL,
    resolved_at timestamptz,
    CONSTRAINT tickets_pkey PRIMARY KEY (subject_key, ticket_id)
);

CREATE TABLE timeline (
    run text NOT NULL,
    step integer NOT NULL,
    n integer NOT NULL,
    at timestamptz NOT NULL,
    recorded_at timestamptz DEFAULT now() NOT NULL,
    kind text NOT NULL,
    about text NOT NULL,
    text text NOT NULL,
    trace uuid,
    CONSTRAINT timeline_pkey PRIMARY KEY (run, step, n)
);

CREATE TABLE turns (
    team text NOT NULL,
    person text NOT NULL,
    CONSTRAINT turns_pkey PRIMARY KEY (team)
);

CREATE TABLE checklist_items (
    inbox_key text NOT NULL,
    position integer NOT NULL,
    recipient text NOT NULL,
    signal text NOT NULL,
    done_at timestamptz,
    CONSTRAINT checklist_items_pkey PRIMARY KEY (inbox_key, position),
    CONSTRAINT checklist_items_inbox_key_fkey FOREIGN KEY(inbox_key) REFERENCES inbox (key) ON DELETE CASCADE
);
CREATE INDEX checklist_items_awaited ON checklist_items (recipient, signal) WHERE done_at IS NULL;

CREATE TABLE conversations (
    id bigint GENERATED ALWAYS AS IDENTITY,
    run text NOT NULL,
    recipient text NOT NULL,
    message_id bigint NOT NULL,
    journey text NOT NULL,
    template text NOT NULL,
    channel text NOT NULL,
    owner text NOT NULL,
    task_id bigint,
    replies integer DEFAULT 1 NOT NULL,
    opened_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    until timestamptz NOT NULL,
    closed_at timestamptz,
    closed_by text,
    CONSTRAINT conversations_pkey PRIMARY KEY (id),
    CONSTRAINT conversations_task_id_fkey FOREIGN KEY(task_id) REFERENCES tasks (id)
);
CREATE INDEX conversations_of_task ON conversations (task_id) WHERE task_id IS NOT NULL;
CREATE UNIQUE INDEX conversations_open ON conversations (recipient, run) WHERE closed_at IS NULL;

CREATE TABLE journeys (
    key text NOT NULL,
    hash text NOT NULL,
    live boolean DEFAULT true NOT NULL,
    CONSTRAINT journeys_pkey PRIMARY KEY (key),
    CONSTRAINT journeys_hash_fkey FOREIGN KEY(hash) REFERENCES definitions (hash)
);

CREATE TABLE task_asks (
    key text NOT NULL,
    task_id bigint NOT NULL,
    run text NOT NULL,
    action text NOT NULL,
    status text DEFAULT 'open' NOT NULL CONSTRAINT task_asks_status_check CHECK (status IN ('open', 'closed', 'withdrawn')),
    asked_at timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT task_asks_pkey PRIMARY KEY (key),
    CONSTRAINT task_asks_task_id_fkey FOREIGN KEY(task_id) REFERENCES tasks (id)
);
CREATE INDEX task_asks_of_run ON task_asks (run, action) WHERE status = 'open';
CREATE INDEX task_asks_of_task ON task_asks (task_id);

CREATE TABLE task_log (
    id bigint GENERATED ALWAYS AS IDENTITY,
    task_id bigint NOT NULL,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    by text NOT NULL,
    text text NOT NULL,
    recorded_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT task_log_pkey PRIMARY KEY (id),
    CONSTRAINT task_log_task_id_fkey FOREIGN KEY(task_id) REFERENCES tasks (id)
);
CREATE INDEX task_log_of_task ON task_log (task_id, id);

CREATE TABLE task_mirrors (
    task_id bigint NOT NULL,
    mirror text NOT NULL,
    reference text,
    version bigint DEFAULT 1 NOT NULL,
    pushed bigint DEFAULT 0 NOT NULL,
    reopens boolean DEFAULT false NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_at timestamptz DEFAULT '-infinity' NOT NULL,
    last_error text,
    CONSTRAINT task_mirrors_pkey PRIMARY KEY (task_id, mirror),
    CONSTRAINT task_mirrors_task_id_fkey FOREIGN KEY(task_id) REFERENCES tasks (id)
);
CREATE INDEX task_mirrors_stale ON task_mirrors (mirror, next_at) WHERE version > pushed;

-- The number of an address's advisory lock: the gate shares it, whoever suppresses the address holds it alone.
CREATE FUNCTION address_lock(digest text) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT hashtextextended(digest, 7239013) $$;

-- The consent log is append-only. Only the table's owner can disable the trigger, to erase a person.
CREATE FUNCTION consent_log_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the consent log only grows' USING ERRCODE = 'restrict_violation';
    END $$;

CREATE TRIGGER consent_log_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON consent_log
FOR EACH STATEMENT EXECUTE FUNCTION consent_log_only_grows();

-- Each change of a message is copied to the feed in the same transaction, whatever statement makes it. `was` is the status
-- before; `decided` says that the gate has decided.
CREATE FUNCTION feed_of_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO feed (message, was, status, decided, attempt, channel, until, reasons, whole)
  VALUES (NEW.id, OLD.status, NEW.status, OLD.decided_at IS DISTINCT FROM NEW.decided_at, NEW.attempts, NEW.channel,
          NEW.due_at, NEW.reasons, NEW.merged_into);
  RETURN NULL;
END $$;

CREATE TRIGGER messages_fed AFTER INSERT ON messages FOR EACH ROW EXECUTE FUNCTION feed_of_message();

CREATE TRIGGER messages_fed_again AFTER UPDATE OF status, attempts, decided_at, reasons ON messages FOR EACH ROW
WHEN (OLD.status <> NEW.status OR OLD.attempts <> NEW.attempts OR OLD.decided_at <> NEW.decided_at
      OR OLD.reasons IS DISTINCT FROM NEW.reasons)
EXECUTE FUNCTION feed_of_message();

-- All that the gate reads of a person, after locking them: the person's row, the kill switches, each address.
--
-- Volatile, so each statement sees what was committed while the one before it waited for its lock. Whoever throws a kill
-- switch or suppresses an address holds that lock alone: what is decided after their commit knows it. 7239015 is
-- `store.locks.Lock.STOPS`.
--
-- `sent` is what counts for caps since `since`, also what waits for a retry and may have arrived. `urgent` and `held` are
-- of the person, of the account the message is about, and of every account they are in; `accounts` are these accounts.
CREATE FUNCTION gate_reads(person text, account text, since timestamptz, digests text[], at timestamptz)
RETURNS TABLE (consents json, sent json, queue json, urgent boolean, stopped json, suppressed json, held json, talks json,
               accounts text[])
LANGUAGE plpgsql VOLATILE AS $$
DECLARE theirs text[];
BEGIN
  PERFORM 1 FROM subjects s WHERE s.key = person FOR UPDATE;
  PERFORM pg_advisory_xact_lock_shared(7239015);
  PERFORM pg_advisory_xact_lock_shared(address_lock(d)) FROM (SELECT unnest(digests) AS d ORDER BY 1) AS sorted;
  theirs := account || ARRAY(SELECT b.account_key FROM members b WHERE b.person_key = person);
  RETURN QUERY SELECT
    (SELECT json_agg(json_build_array(c.channel, c.topic, c.granted)) FROM consents c WHERE c.subject_key = person),
    (SELECT json_agg(json_build_array(m.sent_at, m.channel, m.topic, m.priority, m.action, m.journey, m.template,
                                      m.subject_key, m.key, m.merged_into IS NOT NULL))
     FROM messages m WHERE m.recipient = person AND m.sent_at > since
       AND (m.status IN ('sending', 'sent', 'unknown', 'merged') OR (m.status = 'deferred' AND m.in_doubt))),
    (SELECT json_agg(json_build_array(m.key, m.due_at, m.via, m.topic, m.priority, m.action, m.journey,
                                      jsonb_path_query_array(m.reasons, '$[*].rule'), m.expires_at))
     FROM messages m WHERE m.recipient = person AND m.status = 'deferred'),
    EXISTS (SELECT 1 FROM tickets t WHERE t.resolved_at IS NULL AND t.subject_key = ANY (person || theirs)),
    (SELECT json_agg(json_build_array(s.scope, s.name, s.why)) FROM stops s WHERE s.released_at IS NULL),
    (SELECT json_object_agg(a.digest, a.reason) FROM suppressions a WHERE a.digest = ANY(digests) AND a.lifted_at IS NULL),
    (SELECT json_agg(json_build_array(h.until, h.by, h.why)) FROM holds h
     WHERE h.released_at IS NULL AND h.until > at AND h.subject_key = ANY (person || theirs)),
    (SELECT json_agg(json_build_array(v.run, v.until, v.owner)) FROM conversations v
     WHERE v.recipient = person AND v.closed_at IS NULL AND v.until > at),
    theirs;
END $$;

INSERT INTO catalogue DEFAULT VALUES;
INSERT INTO feed_push DEFAULT VALUES;
