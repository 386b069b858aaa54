-- All that the gate reads of a person, after locking them: the person's row, the kill switches, each address.
--
-- Volatile, so each statement sees what was committed while the one before it waited for its lock. A kill switch is
-- engaged, and an address suppressed, under that lock exclusively: every decision after that commit sees it. 7239015
-- is `store.locks.Lock.STOPS`. Addresses that several people may have (`counted`) are locked exclusively.
--
-- `queue` are the deferred messages, each with the visit that requested it and the one its run is in, and whether an attempt
-- has failed or may have arrived since the last decision.
-- `sent` are the messages that count for caps since `since`, also those in doubt that wait for a retry, and those to others
-- at a `counted` address. `refused` are topics that were opted out of at one. `urgent` and `held` cover the person, the
-- account that the message is about, and every account they are in: `accounts`.
CREATE FUNCTION gate_reads(person text, account text, since timestamptz, digests text[], at timestamptz, counted text[])
RETURNS TABLE (consents json, sent json, queue json, urgent boolean, stopped json, suppressed json, held json, talks json,
               accounts text[], refused json)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE theirs text[]; on_clock text;
BEGIN
  SELECT s.clock INTO on_clock FROM subjects s WHERE s.key = person FOR UPDATE;
  PERFORM pg_advisory_xact_lock_shared(7239015);
  PERFORM CASE WHEN d = ANY (counted) THEN pg_advisory_xact_lock(address_lock(d))
               ELSE pg_advisory_xact_lock_shared(address_lock(d)) END
  FROM (SELECT unnest(digests) AS d ORDER BY 1) AS sorted;
  theirs := account || ARRAY(SELECT b.account_key FROM members b WHERE b.person_key = person);
  RETURN QUERY SELECT
    (SELECT json_agg(json_build_array(c.channel, c.topic, c.granted, c.address)) FROM consents c WHERE c.subject_key = person AND c.in_force),
    (SELECT json_agg(json_build_array(m.sent_at, m.channel, m.topic, m.priority, m.action, m.journey, m.template,
                                      m.subject_key, m.key, m.merged_into IS NOT NULL, m.recipient <> person))
     FROM messages m WHERE (m.recipient = person AND m.sent_at > since
         OR m.address_hash = ANY (counted) AND m.sent_at > since AND m.clock IS NOT DISTINCT FROM on_clock)
       AND (m.status IN ('sending', 'sent', 'unknown', 'merged') OR (m.status = 'deferred' AND m.in_doubt))),
    (SELECT json_agg(json_build_array(m.key, m.due_at, m.at, m.via, m.topic, m.priority, m.action, m.journey, m.reasons,
                                      m.expires_at, m.detail IS NOT NULL OR m.in_doubt, m.id,
                                      json_build_array(m.state, m.visit, m.stands), r.status = 'open', r.state, r.visit))
     FROM messages m JOIN runs r ON r.id = m.run WHERE m.recipient = person AND m.status = 'deferred'),
    EXISTS (SELECT 1 FROM tickets t WHERE t.resolved_at IS NULL AND t.ends_at > at AND t.subject_key = ANY (person || theirs)),
    (SELECT json_agg(json_build_array(s.scope, s.name, s.why)) FROM stops s WHERE s.released_at IS NULL),
    (SELECT json_object_agg(a.digest, a.reason) FROM suppressions a WHERE a.digest = ANY(digests) AND a.lifted_at IS NULL
     AND (a.ends_at IS NULL OR a.ends_at > gate_reads.at)),
    (SELECT json_agg(json_build_array(h.until, h.by, h.why)) FROM holds h
     WHERE h.released_at IS NULL AND h.until > at AND h.subject_key = ANY (person || theirs)),
    (SELECT json_agg(json_build_array(v.run, v.until, v.owner)) FROM conversations v
     WHERE v.recipient = person AND v.closed_at IS NULL AND v.until > at),
    theirs,
    (SELECT json_agg(json_build_array(r.digest, r.topic)) FROM address_consents r
     WHERE r.digest = ANY (counted) AND r.clock = coalesce(on_clock, '') AND NOT r.granted);
END $$;
