"""The transitions of messages in a database, compared with the table of transitions."""

from __future__ import annotations

import asyncpg

from journeys.gate.status import INITIAL, TRANSITIONS, Status
from store.database import plain_url

_SEEN = "SELECT DISTINCT was, status FROM feed WHERE event IS NULL"


async def transitions_outside_table(database_url: str) -> list[tuple[str | None, str]]:
    """Changes of status in the feed that the table of transitions does not contain."""
    connection = await asyncpg.connect(plain_url(database_url))
    rows = await connection.fetch(_SEEN)
    await connection.close()
    assert rows, "nothing happened"
    return [
        (row["was"], row["status"])
        for row in rows
        if Status(row["status"]) not in (INITIAL if row["was"] is None else TRANSITIONS[Status(row["was"])])
    ]
