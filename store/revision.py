"""Which migration the database is at, for readiness."""

from __future__ import annotations

from store.database import Connection, row, sql

_REVISION = sql("SELECT version_num FROM alembic_version")


async def revision(connection: Connection) -> str:
    """The database's revision; empty when it was never migrated to one."""
    found = await row(connection, _REVISION)
    return str(found["version_num"]) if found else ""
