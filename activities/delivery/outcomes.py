"""What the gate and a delivery tell of a message, with what the house has; how it is told is `store/messages/outcomes.py`."""

from __future__ import annotations

from datetime import datetime

from activities.dependencies import Dependencies
from activities.gate.digest import is_digest
from journeys.consent.bounces import came_back
from journeys.protocol.wire import SOURCE_SELF
from store.database import Connection
from store.events import ingest
from store.events.reactions import reaction
from store.messages import digests, outcomes
from store.messages.ledger import LedgerEntry
from store.people import subjects
from store.retry import retry_transaction
from store.runs import projection


async def reads_outcome(deps: Dependencies, connection: Connection, definition: str, action: str) -> bool:
    """Whether a chart reacts to any outcome of this action; if so its lane is locked with the gate's other locks."""
    return await outcomes.reads_outcome(connection, deps.catalogue, definition, action)


async def lock_lane(deps: Dependencies, connection: Connection, entry: LedgerEntry) -> None:
    """Lock the lanes an outcome goes to, if it does, before its row of the ledger: the order in which steps lock."""
    parts = await digests.parts_of(connection, entry.key) if is_digest(entry.key) else [entry]
    await subjects.lock_subjects(connection, [
        (await projection.read_run(connection, part.run)).lane
        for part in parts
        if await reads_outcome(deps, connection, part.definition, part.action)
    ])  # fmt: skip


async def tell_outcome(
    deps: Dependencies, connection: Connection, entry: LedgerEntry, status: str, at: datetime
) -> None:
    """Put `<action>.<outcome>` into the run's lane, if its chart reads it."""
    await outcomes.tell_outcome(connection, deps.catalogue, entry, status, at)


async def tell_bounce(deps: Dependencies, entry: LedgerEntry, reason: str) -> None:
    """A relay has said at once that there is no such address: the same signal as when a report had come back, and what follows from it."""
    data = {**came_back(reason, hard=True), "address": entry.address}
    once = f"{entry.key}=bounced.{entry.attempts}"

    async def work(connection: Connection) -> None:
        told = await reaction(connection, "message_bounced", entry.key, entry.recipient, once=once, **data)
        await ingest.accept_within(connection, deps.catalogue, [told], source=SOURCE_SELF)

    await retry_transaction(deps.database, work)
