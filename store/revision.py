"""Schema revisions: the database's and the newest, for readiness.

Alembic is not imported, because it would take a third of the API's start-up time.
"""

from __future__ import annotations

from pathlib import Path

from store.database import Connection, fetch_one, sql

_VERSIONS = Path(__file__).parent / "migrations" / "versions"
_REVISION = sql("SELECT version_num FROM alembic_version")


async def revision(connection: Connection) -> str:
    """The database's revision; empty if it was never migrated."""
    row = await fetch_one(connection, _REVISION)
    return str(row["version_num"]) if row else ""


def head() -> str:
    """The newest revision, by the file names `versions/NNNN_name.py`."""
    return max(path.name.partition("_")[0] for path in _VERSIONS.glob("[0-9]*.py"))
