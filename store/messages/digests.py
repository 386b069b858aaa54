"""The parts of a message that is made of others: rows of their own, which end as the whole does or are decided again."""

from __future__ import annotations

from datetime import datetime

from store.database import Connection, execute, fetch_all, sql
from store.messages.ledger import COLUMNS, LedgerEntry, entry_from_row

_PARTS = sql(
    f"SELECT {COLUMNS}, r.definition, true AS holds, r.state AS now_in FROM messages m JOIN runs r ON r.id = m.run "  # noqa: S608
    "WHERE m.merged_into = :key AND m.status IN ('merged', 'unknown') ORDER BY m.id"
)
_END_PARTS = sql(
    """
    UPDATE messages SET status = CASE WHEN :status = 'sent' THEN 'merged' ELSE :status END, detail = :detail, settled_at = :now,
      sent_at = CASE WHEN :status = 'failed' THEN NULL ELSE sent_at END
    WHERE merged_into = :key AND status IN ('merged', 'unknown')
    """
)
_DISSOLVE = sql(
    """
    UPDATE messages SET status = 'deferred', due_at = :due, sent_at = NULL, settled_at = NULL, ready_at = NULL,
      attempts = :attempts, first_attempt_at = :first, merged_into = NULL WHERE merged_into = :key AND status IN ('merged', 'unknown', :also)
    """
)


async def parts_of(connection: Connection, key: str) -> list[LedgerEntry]:
    """The messages that went out as this one."""
    return [entry_from_row(item) for item in await fetch_all(connection, _PARTS, key=key)]


async def settle_parts(connection: Connection, key: str, status: str, detail: str, now: datetime) -> None:
    """They end as the whole did: what never went out does not read as sent."""
    await execute(connection, _END_PARTS, key=key, status=status, detail=detail, now=now)


async def dissolve_digest(
    connection: Connection,
    key: str,
    due: datetime,
    *,
    attempts: int = 0,
    first: datetime | None = None,
    also: str = "merged",
) -> int:
    """Let them be decided again, each by itself, when the whole would be tried again; how many there are.

    They keep its `attempts` and when the first was made: whoever they go with next has been tried that often.
    """
    return await execute(connection, _DISSOLVE, key=key, due=due, attempts=attempts, first=first, also=also)
