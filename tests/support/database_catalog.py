"""Read a database's definition from pg_catalog, as comparable lines.

One line per table column, constraint, index, function, trigger and other object of the public schema; comments and the
order of columns are left out.
"""

from __future__ import annotations

import asyncpg

QUERIES = {
    "relation": """
        SELECT concat_ws(' ', relname, relkind, relpersistence, reloptions, relrowsecurity, relreplident)
        FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind NOT IN ('i', 't')
    """,
    "column": """
        SELECT concat_ws(' ', c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod),
          CASE WHEN a.attnotnull THEN 'NOT NULL' END, 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid),
          'identity=' || nullif(CAST(a.attidentity AS text), ''), 'generated=' || nullif(CAST(a.attgenerated AS text), ''),
          'collation=' || CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation END)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
        LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (c.oid, a.attnum)
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
    """,
    "constraint": """
        SELECT concat_ws(' ', CAST(conrelid AS regclass), conname, pg_get_constraintdef(oid), convalidated)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
    """,
    "index": """
        SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
        WHERE relnamespace = 'public'::regnamespace
    """,
    "function": """
        SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prokind IN ('f', 'p')
    """,
    "trigger": "SELECT concat_ws(' ', pg_get_triggerdef(oid), tgenabled) FROM pg_trigger WHERE NOT tgisinternal",
    "sequence": """
        SELECT concat_ws(' ', sequencename, data_type, start_value, increment_by, cycle) FROM pg_sequences
        WHERE schemaname = 'public'
    """,
    "type": "SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype IN ('d', 'e', 'r')",
}
"""By kind of object, its lines."""


async def database_catalog(connection: asyncpg.Connection, *, without: str = "alembic_version") -> set[tuple[str, str]]:
    """Every object as (kind, definition), except those of one table."""
    objects = set()
    for kind, query in QUERIES.items():
        for (line,) in await connection.fetch(query):
            if without not in line:
                objects.add((kind, line))
    return objects
