"""Outcomes of messages come back by the front door: signals in the run's lane, where its chart reads them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from store.database import Connection
from store.definitions.registry import DefinitionRegistry
from store.errors import Contended
from store.messages import due
from store.messages.ledger import LedgerEntry
from store.outbox import queue as outbox
from store.people import subjects
from store.people.subjects import Subject
from store.runs import projection

WORDS: Final = {
    "sent": "sent",
    "failed": "failed",
    "withheld": "withheld",
    "withdrawn": "withheld",
    "replaced": "withheld",
}
"""A ledger status as the outcome an author writes (`checklist.sent`); the others have no outcome yet.

What is withdrawn because its state was left is told to nobody: who would react has left with it.
"""


async def reads_outcome(connection: Connection, catalogue: DefinitionRegistry, definition: str, action: str) -> bool:
    """Whether a chart reacts to any outcome of this action; if so its lane is locked with the gate's other locks."""
    chart = await catalogue.chart(connection, definition)
    return any(f"{action}.{word}" in chart.signals for word in WORDS.values())


async def lock_outcome_lanes(connection: Connection, person: str, account: str | None = None) -> dict[str, Subject]:
    """Lock a person, and with them every lane that may hear what becomes of what they are owed.

    Raises Contended when more is owed since our look: then all of it again.
    """
    wanted = {person, *((account,) if account else ()), *await due.lanes_of_unsettled(connection, person)}
    locked = await subjects.lock_subjects(connection, wanted)
    if not await due.lanes_of_unsettled(connection, person) <= wanted:
        raise Contended
    return locked


async def tell_outcome(
    connection: Connection, catalogue: DefinitionRegistry, entry: LedgerEntry, status: str, at: datetime
) -> None:
    """Put `<action>.<outcome>` into the run's lane, if its chart reads it."""
    word = WORDS.get(status)
    chart = await catalogue.chart(connection, entry.definition)
    name = f"{entry.action}.{word}"
    if word is None or name not in chart.signals:
        return
    row = await projection.read_run(connection, entry.run)
    await outbox.enqueue_one(
        connection,
        recipient=row.lane,
        kind="signal",
        name=name,
        event_id=f"{entry.key}={word}",
        at=at,
        data=_carried(entry, word),
        target=entry.run,
        trace=entry.trace,
    )


def _carried(entry: LedgerEntry, word: str) -> dict[str, Any]:
    """What the outcome tells (`journeys/language/outcome_signals.py`): the channel of what went out, the reason of what did not."""
    carried: dict[str, Any] = {"template": entry.template}
    if word != "withheld":
        carried["channel"] = entry.channel
    if word != "sent":
        carried["reason"] = entry.reasons[0].code if entry.reasons else entry.detail or ""
    return carried
