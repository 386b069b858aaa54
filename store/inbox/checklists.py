"""Checklists: items wait for signals and are ticked in the commit that accepts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Text, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert

from store.database import Connection, execute, fetch_all, sql
from store.definitions.awaited_signals import await_signals
from store.expressions import unnest
from store.schema import checklist_items

_given = unnest("given", number="place", signals=checklist_items.c.signal)
_OPEN = sql(
    insert(checklist_items).from_select(
        ["inbox_key", "position", "recipient", "signal"],
        select(
            bindparam("key", type_=Text),
            _given.c.place - 1,
            bindparam("recipient", type_=Text),
            _given.c.signal,
        ),
    )
)
_MOVE = sql(
    update(checklist_items).where(checklist_items.c.recipient == bindparam("gone")).values(recipient=bindparam("into"))
)
# The items of a visitor who was merged since the subjects were read are found under either key.
_TICK = sql(
    """
    WITH accepted AS (
      SELECT s.key, s.merged_into, w.signal, min(w.at) AS at
      FROM unnest(CAST(:keys AS text[]), CAST(:signals AS text[]), CAST(:ats AS timestamptz[])) AS w(key, signal, at)
      JOIN subjects s ON s.key = w.key GROUP BY s.key, s.merged_into, w.signal
    ), ticked AS (
      UPDATE checklist_items c SET done_at = t.at FROM accepted t
      WHERE c.recipient IN (t.key, t.merged_into) AND c.signal = t.signal AND c.done_at IS NULL
      RETURNING c.inbox_key, c.position, c.recipient, t.at
    ), shown AS (
      UPDATE inbox i SET changed = CAST(CAST(pg_current_xact_id() AS text) AS bigint) WHERE i.key IN (SELECT inbox_key FROM ticked) RETURNING i.key, i.recipient
    )
    SELECT t.inbox_key, t.recipient, max(t.at) AS at, pg_notify('tenure_inbox', t.recipient),
      NOT EXISTS (SELECT 1 FROM checklist_items c WHERE c.inbox_key = t.inbox_key AND c.done_at IS NULL
                  AND c.position <> ALL (array_agg(t.position))) AS complete
    FROM ticked t GROUP BY t.inbox_key, t.recipient
    """
)


def ticks_of(inbox_key: ColumnElement[str]) -> ColumnElement[Any]:
    """Position and instant of the tick (null if there is none yet) of each item of an inbox row."""
    tick = func.jsonb_build_array(checklist_items.c.position, checklist_items.c.done_at)
    ticks = func.jsonb_agg(aggregate_order_by(tick, checklist_items.c.position))
    return select(ticks).where(checklist_items.c.inbox_key == inbox_key).scalar_subquery().label("ticks")


async def open_checklist(connection: Connection, key: str, recipient: str, signals: Sequence[str]) -> None:
    """Make a checklist wait for these signals, one for each item."""
    await execute(connection, _OPEN, key=key, recipient=recipient, signals=list(signals))
    await await_signals(connection, signals)


async def move_to(connection: Connection, gone: str, into: str) -> None:
    """Move a visitor's checklists to the user."""
    await execute(connection, _MOVE, gone=gone, into=into)


async def tick_checklists(
    connection: Connection, accepted: Sequence[tuple[str, str, datetime]]
) -> list[Mapping[str, Any]]:
    """Tick the items that wait for these signals (subject, name, instant).

    Returns the checklists concerned, each with whether it is complete now.
    """
    if not accepted:
        return []
    keys, signals, ats = zip(*accepted, strict=True)
    return await fetch_all(connection, _TICK, keys=list(keys), signals=list(signals), ats=list(ats))
