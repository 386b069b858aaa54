"""Lock order of transactions, and the numbers of advisory locks.

A transaction takes the locks that it needs in this order, so that no two transactions wait for each other in a circle:

| order | what | how | by |
|---|---|---|---|
| 1 | people and accounts, and with them their lanes | rows of `subjects`, all at once, in key order | `lock_subjects` (`store/people/subjects.py`), `gate_read` for the one person of a pass; `lock_members_behind` waits for nobody |
| 2 | test clocks | the row, shared, by what is accepted from outside while the clock stands; alone by who advances or moves it, and nothing else | `hold_clocks` (`store/people/test_clocks.py`), `store/clocks/control.py` |
| 3 | runs | the row of the run that makes a step, ends or is moved | `advance_run`, `close_run`, `move_to` (`store/runs/`, `store/operations/`) |
| 4 | turns of owners | `Lock.ROUTING` with the hash of a team, alone; all teams of a step or of a batch's replies at once, in the order of the hashes | `lock_turns` (`store/tasks/assignment.py`) |
| 5 | kill switches | `Lock.STOPS`, shared by the gate; alone by who engages one, and nothing after it | `gate_read`, `store/messages/kill_switches.py` |
| 6 | addresses | one advisory lock for each hash, all of a transaction at once, in the order of the hashes | `gate_read`, `lock_addresses`, `lock_mailboxes` (`store/consent/suppressions.py`) |
| 7 | sender refusals | the row, by who counts a refused message, in the order of channel and code; after `Lock.STOPS` by who stops the channel | `store/messages/sender_refusals.py` |
| 8 | declared fields | their rows, in the last statement of a batch or of a filled slice | `store/people/dropped_fields.py`, `store/people/field_filling.py` |

The gate holds the lock of a mailbox (`journeys/consent/mailboxes.py`) alone, since sends to it count for everybody who has it, and
shares those of other addresses. A suppression, and what people say themselves of consent, hold them alone. A step therefore
applies its tasks before its messages, and one with several recipients shares `Lock.STOPS` and then locks their mailboxes before
the first pass. A batch of events locks the mailboxes of its statements together with the addresses that it suppresses.

Rows about a person (messages, consents, conversations, inbox) are changed only under the first lock. A transaction
therefore reads which subjects it will touch before it locks them. If that has changed meanwhile, it raises `Contended`
and is retried (`store/retry.py`), as is the loser of a deadlock.

Each purpose has its own advisory number: with a shared one, unrelated work would block or be skipped.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from enum import IntEnum

import asyncpg
from sqlalchemy import BigInteger, Integer, Text, bindparam, false, func, literal, select

from store.database import Connection, Database, fetch_all, fetch_one, sql


class Lock(IntEnum):
    """Work that one process does at a time."""

    MIGRATE = 7_239_001
    CATALOGUE = 7_239_002
    PUBLISH = 7_239_003
    SWEEP = 7_239_004
    ROUTING = 7_239_009  # with the hash of a team as second number
    FEED = 7_239_011
    MIRRORS = 7_239_014
    STOPS = 7_239_015  # `gate_reads` shares it, so another number needs a migration
    CLOCK = 7_239_016  # with the hash of a clock's id as second number
    KEYS = 7_239_017
    FILLING = 7_239_018


_lock = bindparam("lock", type_=BigInteger)
_UNTIL_COMMIT = sql(select(func.pg_advisory_xact_lock(_lock)))
_SHARED_UNTIL_COMMIT = sql(select(func.pg_advisory_xact_lock_shared(_lock)))
_IF_FREE = sql(select(func.pg_try_advisory_xact_lock(_lock).label("taken")))
_TAKE = sql(select(func.pg_try_advisory_lock(_lock).label("taken")))
_RELEASE = sql(select(func.pg_advisory_unlock(_lock).label("held")))
_CHECK = sql(select(literal(1)))
_PARTS_UNTIL_COMMIT = sql(
    """
    SELECT pg_advisory_xact_lock(CAST(:lock AS int), part.hash)
    FROM (SELECT DISTINCT hashtext(name) AS hash FROM unnest(CAST(:parts AS text[])) AS given(name)) AS part
    ORDER BY part.hash
    """
)
_of_clock = (bindparam("lock", type_=Integer), func.hashtext(bindparam("clock", type_=Text)))
_TAKE_CLOCK = sql(select(func.pg_try_advisory_lock(*_of_clock).label("taken")))
_RELEASE_CLOCK = sql(select(func.pg_advisory_unlock(*_of_clock).label("held")))
_LIMIT_SILENCE = sql(select(func.set_config("idle_session_timeout", bindparam("milliseconds", type_=Text), false())))


async def lock_until_commit(connection: Connection, lock: Lock) -> None:
    """Wait for a lock, and hold it until the transaction ends."""
    await fetch_one(connection, _UNTIL_COMMIT, lock=int(lock))


async def lock_parts_until_commit(connection: Connection, lock: Lock, parts: Iterable[str]) -> None:
    """Wait for the locks of parts of the work, in the order of their hashes, and hold them until the transaction ends."""
    await fetch_all(connection, _PARTS_UNTIL_COMMIT, lock=int(lock), parts=list(parts))


async def share_until_commit(connection: Connection, lock: Lock) -> None:
    """Wait for whoever holds a lock alone, and share it until the transaction ends."""
    await fetch_one(connection, _SHARED_UNTIL_COMMIT, lock=int(lock))


async def lock_if_free(connection: Connection, lock: Lock) -> bool:
    """Take a lock until the transaction ends; False if another session holds it."""
    row = await fetch_one(connection, _IF_FREE, lock=int(lock))
    return bool(row and row["taken"])


async def take_lock(connection: Connection, lock: Lock) -> bool:
    """Take a session lock until `release_lock` or the end of the connection; False if another session holds it."""
    row = await fetch_one(connection, _TAKE, lock=int(lock))
    return bool(row and row["taken"])


async def release_lock(connection: Connection, lock: Lock) -> bool:
    """Release a session lock; False if this connection did not hold it any more."""
    row = await fetch_one(connection, _RELEASE, lock=int(lock))
    return bool(row and row["held"])


async def check_lock_held(connection: Connection) -> None:
    """Raises if the connection is closed, and its session locks with it."""
    await fetch_one(connection, _CHECK)


@contextlib.asynccontextmanager
async def clock_lock(database: Database, clock: str, silence: timedelta) -> AsyncIterator[Connection | None]:
    """The connection that holds a test clock's lock while the body runs, or None if another process has it.

    PostgreSQL ends the session after a `silence`: a process that is stopped and never goes on would else keep the lock.
    """
    async with database.reading() as connection:
        row = await fetch_one(connection, _TAKE_CLOCK, lock=int(Lock.CLOCK), clock=clock)
        taken = bool(row and row["taken"])
        try:
            if taken:
                await _limit_silence(connection, silence)
            yield connection if taken else None
        finally:
            if taken:
                with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    await fetch_one(connection, _RELEASE_CLOCK, lock=int(Lock.CLOCK), clock=clock)
                    await _limit_silence(connection, timedelta(0))


async def _limit_silence(connection: Connection, silence: timedelta) -> None:
    milliseconds = str(int(silence.total_seconds() * 1000))
    await fetch_one(connection, _LIMIT_SILENCE, milliseconds=milliseconds)


@contextlib.asynccontextmanager
async def session_lock(database: Database, lock: Lock) -> AsyncIterator[Connection | None]:
    """The connection that holds the lock while the body runs, or None if another process holds it.

    It is a session lock, so no transaction stays open. It ends with its connection, which `check_lock_held` detects.
    """
    async with database.reading() as connection:
        taken = await take_lock(connection, lock)
        try:
            yield connection if taken else None
        finally:
            if taken:
                with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    await release_lock(connection, lock)
