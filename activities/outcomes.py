"""What the gate and a delivery tell of a message, with what the house has; how it is told is `store/outcomes.py`."""

from __future__ import annotations

from datetime import datetime

from activities.digest import is_digest
from activities.house import House
from store import bundles, outcomes, runs, subjects
from store.database import Connection
from store.ledger import Entry


async def reads_outcome(house: House, connection: Connection, definition: str, action: str) -> bool:
    """Whether a chart reacts to any outcome of this action; if so its lane is locked with the gate's other locks."""
    return await outcomes.reads_outcome(connection, house.catalogue, definition, action)


async def lock_lane(house: House, connection: Connection, entry: Entry) -> None:
    """Lock the lanes an outcome goes to, if it does, before its row of the ledger: the order in which steps lock."""
    parts = await bundles.parts_of(connection, entry.key) if is_digest(entry.key) else [entry]
    await subjects.lock(connection, [
        (await runs.read_run(connection, part.run)).lane
        for part in parts
        if await reads_outcome(house, connection, part.definition, part.action)
    ])  # fmt: skip


async def tell_outcome(house: House, connection: Connection, entry: Entry, status: str, at: datetime) -> None:
    """Put `<action>.<outcome>` into the run's lane, if its chart reads it."""
    await outcomes.tell_outcome(connection, house.catalogue, entry, status, at)
