"""Every advisory lock there is: two purposes with one number would wait for each other, or believe each other done."""

from __future__ import annotations

from enum import IntEnum

from store.database import Connection, fetch_one, sql


class Lock(IntEnum):
    """What is done by one process at a time."""

    MIGRATE = 7_239_001
    CATALOGUE = 7_239_002
    PUBLISH = 7_239_003
    SWEEP = 7_239_004
    ROUTING = 7_239_009
    FEED = 7_239_011
    MIRRORS = 7_239_014
    STOPS = 7_239_015  # `gate_reads` shares it, so another number needs a migration


_HOLD = sql("SELECT pg_advisory_xact_lock(CAST(:lock AS bigint))")
_HOLD_IF_FREE = sql("SELECT pg_try_advisory_xact_lock(CAST(:lock AS bigint)) AS taken")
_TRY = sql("SELECT pg_try_advisory_lock(CAST(:lock AS bigint)) AS taken")
_THERE = sql("SELECT 1 AS there")
_RELEASE = sql("SELECT pg_advisory_unlock(CAST(:lock AS bigint)) AS held")


async def lock_until_commit(connection: Connection, lock: Lock) -> None:
    """Wait for a lock, and keep it until the transaction ends."""
    await fetch_one(connection, _HOLD, lock=int(lock))


async def lock_if_free(connection: Connection, lock: Lock) -> bool:
    """Keep a lock until the transaction ends; False if somebody else has it."""
    found = await fetch_one(connection, _HOLD_IF_FREE, lock=int(lock))
    return bool(found and found["taken"])


async def take_lock(connection: Connection, lock: Lock) -> bool:
    """Take a lock for as long as the connection lives, or until `release`: no transaction stays open. False if taken."""
    found = await fetch_one(connection, _TRY, lock=int(lock))
    return bool(found and found["taken"])


async def release_lock(connection: Connection, lock: Lock) -> bool:
    """Give back what was taken; False if it was lost meanwhile."""
    found = await fetch_one(connection, _RELEASE, lock=int(lock))
    return bool(found and found["held"])


async def check_lock_held(connection: Connection) -> None:
    """Raises if the connection is gone, and with it the locks that it had taken."""
    await fetch_one(connection, _THERE)
