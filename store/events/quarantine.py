"""Quarantine: rejected events with their faults, until somebody replays or discards them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import orjson

from journeys.events.inbound import RejectedEvent
from store.database import Connection, as_json, execute, fetch_all, fetch_one, sql
from store.rows import RowDict, loaded

_HOLD = sql(
    """
    INSERT INTO quarantine (source, message_id, name, faults, event, received_at)
    SELECT :source, message_id, name, faults, event, :received_at
    FROM unnest(CAST(:ids AS text[]), CAST(:names AS text[]), CAST(:faults AS jsonb[]), CAST(:events AS jsonb[]))
      AS w(message_id, name, faults, event)
    ON CONFLICT (source, message_id) DO NOTHING RETURNING message_id
    """
)
_COLUMNS = (
    "q.id, q.source, q.message_id, q.name, q.faults, q.event, q.received_at, q.status, q.settled_at FROM quarantine q"
)
_LIST = sql(
    f"""
    SELECT {_COLUMNS} WHERE q.status = :status AND (CAST(:name AS text) IS NULL OR q.name = :name) AND q.id > :after
    ORDER BY q.id LIMIT :limit
    """
)
_ONE = sql(f"SELECT {_COLUMNS} WHERE q.id = :id")
_SETTLE = sql(
    """
    UPDATE quarantine SET status = :status, settled_at = clock_timestamp() WHERE id = :id AND status = 'held'
    """
)
_NAMES = sql(
    """
    SELECT name, count(*) AS held, min(received_at) AS first_at, max(received_at) AS last_at FROM quarantine
    WHERE status = 'held' GROUP BY name ORDER BY held DESC, name LIMIT 100
    """
)


async def hold_rejected(
    connection: Connection, rejected: Iterable[RejectedEvent], *, source: str, received_at: datetime
) -> int:
    """Keep what fails the tracking plan, with its faults; the number that was not there before (Q1)."""
    once = {event.message_id: event for event in rejected}
    if not once:
        return 0
    kept = await fetch_all(
        connection,
        _HOLD,
        source=source,
        received_at=received_at,
        ids=list(once),
        names=[event.name for event in once.values()],
        faults=[as_json(event.faults) for event in once.values()],
        events=[orjson.dumps(event.raw, default=str).decode() for event in once.values()],
    )
    return len(kept)


async def list_quarantined(
    connection: Connection, *, status: str, name: str | None, after: int, limit: int
) -> list[RowDict]:
    """What is held (or was), in the order of arrival."""
    found = await fetch_all(connection, _LIST, status=status, name=name, after=after, limit=limit)
    return [_item(dict(item)) for item in found]


async def get_quarantined(connection: Connection, identity: int) -> RowDict | None:
    """One of them."""
    found = await fetch_one(connection, _ONE, id=identity)
    return _item(dict(found)) if found else None


def _item(found: RowDict) -> RowDict:
    return {**found, "faults": loaded(found["faults"]), "event": loaded(found["event"])}


async def settle_quarantined(connection: Connection, identity: int, status: Literal["replayed", "discarded"]) -> bool:
    """Mark it; False if somebody was quicker."""
    return await execute(connection, _SETTLE, id=identity, status=status) == 1


async def quarantined_names(connection: Connection) -> list[dict[str, str | int | datetime]]:
    """How many are held under each name: what to mend first."""
    return [dict(item) for item in await fetch_all(connection, _NAMES)]
