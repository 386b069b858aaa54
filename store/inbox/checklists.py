"""Checklists whose items tick themselves: in the commit that accepts the signal, by one indexed statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from store.database import Connection, execute, fetch_all, sql

_ABOUT = "CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
TICKS: Final = """
    (SELECT jsonb_agg(jsonb_build_array(c.position, c.done_at) ORDER BY c.position)
     FROM checklist_items c WHERE c.inbox_key = i.key)
"""
"""By position, when each item of the inbox row `i` was ticked."""
_OPEN = sql(
    """
    INSERT INTO checklist_items (inbox_key, position, recipient, signal)
    SELECT :key, place - 1, :recipient, signal FROM unnest(CAST(:signals AS text[])) WITH ORDINALITY AS w(signal, place)
    """
)
_AWAIT = sql(
    """
    WITH new AS (
      INSERT INTO awaited_signals (signal) SELECT DISTINCT unnest(CAST(:signals AS text[])) ON CONFLICT DO NOTHING
      RETURNING signal)
    UPDATE catalogue SET edition = edition + 1 WHERE EXISTS (SELECT 1 FROM new)
    """
)
_AWAITED = sql("SELECT signal FROM awaited_signals")
# A visitor who turned out to be a user since our look is found under either key.
_TICK = sql(
    f"""
    WITH told AS (
      SELECT s.key, s.merged_into, w.signal, min(w.at) AS at
      FROM unnest(CAST(:keys AS text[]), CAST(:signals AS text[]), CAST(:ats AS timestamptz[])) AS w(key, signal, at)
      JOIN subjects s ON s.key = w.key GROUP BY s.key, s.merged_into, w.signal
    ), ticked AS (
      UPDATE checklist_items c SET done_at = t.at FROM told t
      WHERE c.recipient IN (t.key, t.merged_into) AND c.signal = t.signal AND c.done_at IS NULL
      RETURNING c.inbox_key, c.position, c.recipient, t.at
    ), shown AS (
      UPDATE inbox i SET changed = {_ABOUT} WHERE i.key IN (SELECT inbox_key FROM ticked) RETURNING i.key, i.recipient
    )
    SELECT t.inbox_key, t.recipient, max(t.at) AS at, pg_notify('tenure_inbox', t.recipient),
      NOT EXISTS (SELECT 1 FROM checklist_items c WHERE c.inbox_key = t.inbox_key AND c.done_at IS NULL
                  AND c.position <> ALL (array_agg(t.position))) AS complete
    FROM ticked t GROUP BY t.inbox_key, t.recipient
    """  # noqa: S608 -- the expression is ours
)


async def open_checklist(connection: Connection, key: str, recipient: str, signals: Sequence[str]) -> None:
    """Wait for these signals. A name that nobody has waited for before turns the catalogue's edition."""
    await execute(connection, _OPEN, key=key, recipient=recipient, signals=list(signals))
    await execute(connection, _AWAIT, signals=list(signals))


async def awaited_signals(connection: Connection) -> frozenset[str]:
    """Every signal that a checklist has ever waited for."""
    return frozenset(item["signal"] for item in await fetch_all(connection, _AWAITED))


async def tick_checklists(connection: Connection, told: Sequence[tuple[str, str, datetime]]) -> list[Mapping[str, Any]]:
    """Tick what these signals (subject, name, instant) were waited for; the lists concerned, and which are complete now."""
    if not told:
        return []
    keys, signals, ats = zip(*told, strict=True)
    return await fetch_all(connection, _TICK, keys=list(keys), signals=list(signals), ats=list(ats))
