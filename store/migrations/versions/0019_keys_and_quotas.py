"""API keys, claims, quotas, and random ids of in-app messages.

What is quarantined already came with the write key.

Revision ID: 0019
Revises: 0018
"""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_UP = (
    """
    CREATE TABLE api_keys (
      id text NOT NULL PRIMARY KEY,
      name text NOT NULL,
      kind text NOT NULL CONSTRAINT api_keys_kind_check CHECK (kind IN ('public', 'secret', 'operator')),
      scopes text[] NOT NULL,
      source text NOT NULL,
      digest bytea NOT NULL,
      generation integer DEFAULT 1 NOT NULL,
      previous_digest bytea,
      previous_until timestamptz,
      made_at timestamptz NOT NULL,
      made_by text NOT NULL,
      rotated_at timestamptz,
      rotated_by text,
      revoked_at timestamptz,
      revoked_by text,
      CONSTRAINT api_keys_scopes_check CHECK ((kind = 'operator') = (cardinality(scopes) > 0))
    )
    """,
    "CREATE UNIQUE INDEX api_keys_name ON api_keys (name) WHERE revoked_at IS NULL",
    "CREATE TABLE claimed_fields (subject_key text NOT NULL, field text NOT NULL, PRIMARY KEY (subject_key, field))",
    "CREATE UNLOGGED TABLE quotas (name text NOT NULL PRIMARY KEY, empty_at timestamptz NOT NULL)",
    "ALTER TABLE quarantine ADD COLUMN key_id text DEFAULT 'write' NOT NULL",
    "ALTER TABLE inbox ADD COLUMN ref uuid DEFAULT gen_random_uuid() NOT NULL CONSTRAINT inbox_ref_key UNIQUE",
)
_CHARGE = """
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
$$
"""
_DOWN = (
    "DROP FUNCTION charge_quotas(text[], double precision[], double precision[])",
    "DROP TABLE quotas",
    "DROP TABLE claimed_fields",
    "DROP TABLE api_keys",
    "ALTER TABLE quarantine DROP COLUMN key_id",
    "ALTER TABLE inbox DROP COLUMN ref",
)


def upgrade() -> None:
    """Add the tables, the function and the columns."""
    for statement in (*_UP, _CHARGE):
        op.execute(statement)


def downgrade() -> None:
    """Remove them; keys are lost."""
    for statement in _DOWN:
        op.execute(statement)
