"""Reactions to messages, as events for journeys (M1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import bindparam, select

from journeys.events.history import HISTORICAL
from journeys.events.inbound import InboundEvent, StoredEvent
from store.database import Connection, fetch_one, sql
from store.definitions.registry import DefinitionRegistry
from store.inbox import checklists
from store.schema import messages

COMPLETED: Final = "checklist_completed"

_ABOUT = sql(
    select(messages.c.action, messages.c.template, messages.c.journey, messages.c.channel).where(
        messages.c.key == bindparam("key")
    )
)


async def reaction(
    connection: Connection, name: str, key: str, recipient: str, *, once: str, **more: Any
) -> InboundEvent:
    """The signal `name` about the message `key`. It is accepted once for each `once`, the id of this reaction."""
    row = await fetch_one(connection, _ABOUT, key=key)
    about = {column: value for column, value in row.items() if value} if row is not None else {}
    return InboundEvent("track", once, name, subject_key=recipient, data={"message": key, **about, **more})


async def tick_for_events(
    connection: Connection, catalogue: DefinitionRegistry, stored: Iterable[StoredEvent]
) -> list[InboundEvent]:
    """Tick checklist items that waited for these events; an event for each list that is complete by that.

    A list that history completes is complete, and no journey hears of it.
    """
    awaited = [item for item in stored if item.event.name in catalogue.awaited]
    return [
        event
        for historical in (False, True)
        for event in await _tick(
            connection, [item for item in awaited if item.event.historical is historical], historical
        )
    ]


async def _tick(connection: Connection, awaited: Sequence[StoredEvent], historical: bool) -> list[InboundEvent]:
    ticks = [(item.subject_key, item.event.name, item.at) for item in awaited]
    complete = [item for item in await checklists.tick_checklists(connection, ticks) if item["complete"]]
    events = [
        await reaction(
            connection, COMPLETED, item["inbox_key"], item["recipient"], once=f"{item['inbox_key']}=complete"
        )
        for item in complete
    ]
    return [replace(event, context={HISTORICAL: True}) for event in events] if historical else events
