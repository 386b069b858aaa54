"""Counts of open runs and of messages that wait or have failed, for metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from store.database import Connection, fetch_all, fetch_one, sql

_RUNS = sql(
    "SELECT journey, coalesce(state, 'entering') AS state, count(*) AS runs FROM runs WHERE status = 'open' GROUP BY 1, 2"
)
_MESSAGES = sql(
    """
    SELECT status, count(*) AS messages FROM (
      (SELECT status FROM messages WHERE status = 'deferred' AND clock IS NULL LIMIT 10001)
      UNION ALL (SELECT status FROM messages WHERE status = 'sending' AND clock IS NULL LIMIT 10001)
      UNION ALL (SELECT status FROM messages WHERE status = 'unknown' LIMIT 10001)
      UNION ALL (SELECT status FROM messages WHERE status = 'failed' LIMIT 10001)
    ) AS counted GROUP BY status
    """
)
_OLDEST = sql(
    """
    SELECT coalesce(extract(epoch FROM max(statement_timestamp() - due_at)), 0) AS seconds FROM
      (SELECT due_at FROM messages WHERE status = 'deferred' AND clock IS NULL AND due_at < statement_timestamp()
       ORDER BY id LIMIT 10001) AS due
    """
)


@dataclass(frozen=True, slots=True)
class OperationCounts:
    """Open runs by journey and state, messages by status (up to 10,001 each), and the age in seconds of the oldest due one."""

    runs: Sequence[Mapping[str, Any]]
    messages: Mapping[str, int]
    due_seconds: float


async def count_operations(connection: Connection) -> OperationCounts:
    """The counts of the whole database, without messages on test clocks."""
    oldest = await fetch_one(connection, _OLDEST)
    counted = await fetch_all(connection, _MESSAGES)
    return OperationCounts(
        await fetch_all(connection, _RUNS),
        {row["status"]: row["messages"] for row in counted},
        float(oldest["seconds"]) if oldest is not None else 0.0,
    )
