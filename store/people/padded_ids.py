"""Known identities with outer blanks, from before ids were trimmed."""

from __future__ import annotations

from collections.abc import Iterable

from journeys.events.inbound import InboundEvent
from store.database import Connection
from store.people.identities import Identity, find_subjects


async def known_padded(connection: Connection, events: Iterable[InboundEvent]) -> set[Identity]:
    """The identities that events named with blanks, and that are known with them: trimmed they would be somebody else's."""
    padded = [identity for event in events for identity in event.padded]
    return set(await find_subjects(connection, padded)) if padded else set()
