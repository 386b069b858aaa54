"""Schema revisions: the database's and the newest, for readiness.

Alembic itself is not asked: it would be a third of the time in which the API starts.
"""

from __future__ import annotations

from pathlib import Path

from store.database import Connection, fetch_one, sql

_VERSIONS = Path(__file__).parent / "migrations" / "versions"
_REVISION = sql("SELECT version_num FROM alembic_version")


async def revision(connection: Connection) -> str:
    """The database's revision; empty when it was never migrated to one."""
    found = await fetch_one(connection, _REVISION)
    return str(found["version_num"]) if found else ""


def head() -> str:
    """The newest revision this code knows, by the name of its file: versions/NNNN_what.py."""
    return max(each.name.partition("_")[0] for each in _VERSIONS.glob("[0-9]*.py"))
