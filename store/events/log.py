"""Events one at a time, for what is not accepted in a batch."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from store.database import Connection, as_json, fetch_one, sql

_INSERT = sql(
    """
    INSERT INTO events (source, message_id, kind, name, subject_key, at, received_at, data)
    VALUES (:source, :id, 'track', :name, :subject, :at, clock_timestamp(), CAST(:data AS jsonb))
    ON CONFLICT (source, message_id) DO NOTHING RETURNING id
    """
)


async def insert_event(
    connection: Connection,
    *,
    source: str,
    message_id: str,
    name: str,
    subject: str,
    at: datetime,
    data: Mapping[str, Any],
) -> int:
    """Store one event; its number, or 0 if this id of this source was there already."""
    stored = await fetch_one(
        connection, _INSERT, source=source, id=message_id, name=name, subject=subject, at=at, data=as_json(data)
    )
    return int(stored["id"]) if stored is not None else 0
