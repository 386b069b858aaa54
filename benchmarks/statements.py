"""Cost of Core statements against text: `python -m benchmarks.statements`.

`TENURE_DATABASE_URL` names a migrated database; nothing is written to it. Prints microseconds of this process's CPU and of
wall time for each statement: the least of some rounds, taken in turn.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import asyncpg
from sqlalchemy import bindparam, select, update

from store.database import Connection, SqlStatement, execute, fetch_all, plain_url, sql
from store.expressions import any_of
from store.schema import messages

ROUNDS = 9
TIMES = 1_000

_UPDATE = (
    sql(
        """
        UPDATE messages SET status = :status, detail = :detail, due_at = :due, reasons = CAST(:reasons AS jsonb)
        WHERE key = :key AND status = 'sending'
        """
    ),
    sql(
        update(messages)
        .where(messages.c.key == bindparam("key"), messages.c.status == "sending")
        .values(
            status=bindparam("status"),
            detail=bindparam("detail"),
            due_at=bindparam("due"),
            reasons=bindparam("reasons"),
        )
    ),
)
_SELECT = (
    sql(
        """
        SELECT key, status, due_at FROM messages
        WHERE recipient = ANY(CAST(:people AS text[])) AND status IN ('deferred', 'sending')
        """
    ),
    sql(
        select(messages.c.key, messages.c.status, messages.c.due_at).where(
            any_of(messages.c.recipient, "people"), messages.c.status.in_(("deferred", "sending"))
        )
    ),
)
_VALUES: dict[str, dict[str, Any]] = {
    "update": {"key": "nobody's", "status": "sent", "detail": None, "due": None, "reasons": "[]"},
    "select": {"people": ["u_1", "u_2"]},
}


async def _microseconds(
    connection: Connection, verb: Any, statement: SqlStatement, values: dict[str, Any]
) -> tuple[float, float]:
    cpu, clock = time.process_time(), time.perf_counter()
    for _ in range(TIMES):
        await verb(connection, statement, **values)
    return (time.process_time() - cpu) / TIMES * 1e6, (time.perf_counter() - clock) / TIMES * 1e6


async def main() -> None:
    """Measure and print."""
    connection = await asyncpg.connect(plain_url(os.environ["TENURE_DATABASE_URL"]))
    for name, verb, pair in (("update", execute, _UPDATE), ("select", fetch_all, _SELECT)):
        least = [(float("inf"), float("inf"))] * 2
        for _ in range(ROUNDS):
            for n, statement in enumerate(pair):
                measured = await _microseconds(connection, verb, statement, _VALUES[name])
                least[n] = min(least[n][0], measured[0]), min(least[n][1], measured[1])
        for form, (cpu, clock) in zip(("text", "core"), least, strict=True):
            print(f"{name} as {form}: {cpu:.1f} µs of CPU, {clock:.1f} µs")
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
