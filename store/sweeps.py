"""What a sweep over all runs needs: that only one process does it at a time."""

from __future__ import annotations

from store.database import Connection, row, sql

_ALONE = sql("SELECT pg_try_advisory_xact_lock(7239003) AS alone")


async def alone(connection: Connection) -> bool:
    """Whether nobody else sweeps now; nobody will until this transaction ends."""
    found = await row(connection, _ALONE)
    return bool(found and found["alone"])
