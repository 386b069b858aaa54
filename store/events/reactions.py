"""Reactions to messages as events that journeys hear: of which message, action and template (M1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from journeys.events.inbound import InboundEvent, StoredEvent
from store.database import Connection, fetch_one, sql
from store.definitions.registry import DefinitionRegistry
from store.inbox import checklists

COMPLETED: Final = "checklist_completed"

_ABOUT = sql("SELECT action, template, journey, channel FROM messages WHERE key = :key")


async def reaction(
    connection: Connection, name: str, key: str, recipient: str, *, once: str, **more: Any
) -> InboundEvent:
    """The signal `name` about the message `key`. Accepted once for each `once`, which names this very reaction."""
    found = await fetch_one(connection, _ABOUT, key=key)
    about: Mapping[str, Any] = found if found is not None else {}
    told = {column: about[column] for column in ("action", "template", "journey", "channel") if about.get(column)}
    return InboundEvent("track", once, name, subject_key=recipient, data={"message": key, **told, **more})


async def tick_checklists(
    connection: Connection, catalogue: DefinitionRegistry, stored: Iterable[StoredEvent]
) -> list[InboundEvent]:
    """Tick the items of checklists that waited for these events; for each list that is complete by that, the event that tells of it."""
    awaited = [(item.subject_key, item.event.name, item.at) for item in stored if item.event.name in catalogue.awaited]
    complete = [item for item in await checklists.tick_checklists(connection, awaited) if item["complete"]]
    return [
        await reaction(
            connection, COMPLETED, item["inbox_key"], item["recipient"], once=f"{item['inbox_key']}=complete"
        )
        for item in complete
    ]
