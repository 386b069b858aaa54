"""Reset of a used database to the state of a new clone of the template.

A clone copies 900 files, which costs PostgreSQL a tenth of a second of CPU; a reset truncates the few tables that a test has
used. A database whose schema, settings or statistics have changed is not reset.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import asyncpg

_CATALOGS: Final = (
    "pg_attrdef", "pg_attribute", "pg_constraint", "pg_event_trigger", "pg_extension", "pg_index", "pg_namespace",
    "pg_policy", "pg_proc", "pg_rewrite", "pg_trigger", "pg_type",
)  # fmt: skip
"""Catalogs whose rows keep their transaction until they are changed. Truncation changes none of them."""
_TABLES: Final = "FROM pg_class WHERE relnamespace = CAST('public' AS regnamespace)"
_SCHEMA: Final = f"""
    SELECT concat_ws(' ',
      {", ".join(f"(SELECT concat(count(*), ':', max(CAST(CAST(xmin AS text) AS bigint))) FROM {name})" for name in _CATALOGS)},
      (SELECT md5(string_agg(concat_ws(',', oid, relname, relkind, relowner, relpersistence, relacl, reloptions), ' ' ORDER BY oid))
       {_TABLES}),
      (SELECT string_agg(CAST(setconfig AS text), ' ') FROM pg_db_role_setting d JOIN pg_database b ON b.oid = d.setdatabase
       WHERE b.datname = current_database()),
      (SELECT count(*) FROM pg_statistic WHERE starelid >= 16384))
"""
_USED: Final = (
    f"SELECT quote_ident(relname) AS name {_TABLES} AND relkind = 'r' AND pg_relation_size(oid) > 0 ORDER BY 1"
)
_END_SESSIONS: Final = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = $1"
_SEQUENCES: Final = """
    SELECT setval(CAST(seqrelid AS regclass), seqstart, false) FROM pg_sequence
    WHERE pg_sequence_last_value(CAST(seqrelid AS regclass)) IS NOT NULL
"""


@dataclass(frozen=True)
class CleanState:
    """What a new clone contains: its schema, and the rows of each table that is not empty, as JSON."""

    schema: str
    rows: dict[str, str] = field(default_factory=dict)

    async def restore(self, connection: asyncpg.Connection) -> bool:
        """Reset a database. False if it cannot be, and must be dropped."""
        if await connection.fetchval(_SCHEMA) != self.schema:
            return False
        used = [row["name"] for row in await connection.fetch(_USED)]
        changed = [name for name in used if name not in self.rows or await _rows(connection, name) != self.rows[name]]
        await connection.execute("SET session_replication_role = replica")  # without triggers
        if changed:
            await connection.execute(f"TRUNCATE {', '.join(changed)} CASCADE")
        for name in self.rows:
            if await _rows(connection, name) is None:
                insert = f"INSERT INTO {name} OVERRIDING SYSTEM VALUE SELECT * FROM json_populate_recordset(NULL::{name}, $1)"
                await connection.execute(insert, self.rows[name])
        await connection.execute(f"{_SEQUENCES}; SELECT pg_stat_reset()")
        return True


async def clean_state(connection: asyncpg.Connection) -> CleanState:
    """The state of a new clone."""
    used = [row["name"] for row in await connection.fetch(_USED)]
    rows = {name: text for name in used if (text := await _rows(connection, name)) is not None}
    return CleanState(await connection.fetchval(_SCHEMA), rows)


async def end_sessions(maintenance: asyncpg.Connection, name: str) -> None:
    """End every session of a database, as a forced drop does."""
    await maintenance.execute(_END_SESSIONS, name)


async def _rows(connection: asyncpg.Connection, name: str) -> str | None:
    """All rows of a table as JSON; None without any."""
    return str(text) if (text := await connection.fetchval(f"SELECT json_agg(t) FROM {name} AS t")) else None
