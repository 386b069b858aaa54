"""How often content was sent, by template and journey: what reuse is counted from (C9)."""

from __future__ import annotations

from store.database import Connection, fetch_all, sql
from store.rows import RowDict

_USES = sql(
    """
    SELECT template, journey, count(*) AS sent, max(sent_at) AS last_at FROM messages WHERE status = 'sent'
    GROUP BY template, journey ORDER BY template, journey
    """
)
_LIVE = sql("SELECT d.artifact FROM journeys j JOIN definitions d ON d.hash = j.hash WHERE j.live ORDER BY j.key")


async def uses_of_template(connection: Connection) -> list[RowDict]:
    """Messages sent, by template and journey. Reads the whole ledger: ask once a minute at most."""
    return [dict(item) for item in await fetch_all(connection, _USES)]


async def live_artifacts(connection: Connection) -> list[str]:
    """The definitions that are live, as published."""
    return [item["artifact"] for item in await fetch_all(connection, _LIVE)]
