"""What people do with a message, as signals that journeys hear: which message, by which action and template (M1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from journeys.events.segment import InboundEvent
from store.database import Connection, fetch_one, sql

_ABOUT = sql("SELECT action, template, journey, channel FROM messages WHERE key = :key")


async def reaction(
    connection: Connection, name: str, key: str, recipient: str, *, once: str, **more: Any
) -> InboundEvent:
    """The signal `name` about the message `key`. Accepted once for each `once`, which names this very reaction."""
    found = await fetch_one(connection, _ABOUT, key=key)
    about: Mapping[str, Any] = found if found is not None else {}
    told = {column: about[column] for column in ("action", "template", "journey", "channel") if about.get(column)}
    return InboundEvent("track", once, name, subject_key=recipient, data={"message": key, **told, **more})
