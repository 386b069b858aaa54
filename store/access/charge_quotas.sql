-- Charge several leaky buckets, all or none (generic cell rate algorithm). A bucket drains by itself: `seconds` is the time
-- in which a charge drains, `within` the time that a full bucket takes. Returns no row where all are charged; else each full
-- bucket with the seconds until it has room, and nothing is charged. Buckets are locked in the order of their names.
CREATE FUNCTION charge_quotas(names text[], seconds double precision[], within double precision[])
RETURNS TABLE (full_name text, wait double precision)
LANGUAGE plpgsql AS $$
DECLARE
  now_at timestamptz;
BEGIN
  INSERT INTO quotas (name, empty_at)
  SELECT DISTINCT given, clock_timestamp() FROM unnest(names) AS given ORDER BY given
  ON CONFLICT DO NOTHING;
  PERFORM 1 FROM quotas WHERE name = ANY(names) ORDER BY name FOR UPDATE;
  now_at := clock_timestamp();
  RETURN QUERY
  SELECT q.name, extract(epoch FROM greatest(q.empty_at, now_at) - now_at)::double precision + g.cost - g.most
  FROM (SELECT n, sum(s) AS cost, max(w) AS most FROM unnest(names, seconds, within) AS u(n, s, w) GROUP BY n) AS g
  JOIN quotas q ON q.name = g.n
  WHERE extract(epoch FROM greatest(q.empty_at, now_at) - now_at)::double precision + g.cost > g.most;
  IF FOUND THEN
    RETURN;
  END IF;
  UPDATE quotas q SET empty_at = greatest(q.empty_at, now_at) + g.cost * interval '1 second'
  FROM (SELECT n, sum(s) AS cost FROM unnest(names, seconds) AS u(n, s) GROUP BY n) AS g
  WHERE q.name = g.n;
END
$$;
