"""Outcomes of messages come back by the front door: signals in the run's lane, where its chart reads them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from activities.house import House
from store import outbox, runs
from store.database import Connection

WORDS: Final = {
    "sent": "sent",
    "failed": "failed",
    "withheld": "withheld",
    "withdrawn": "withheld",
    "expired": "withheld",
}
"""A ledger status as the outcome an author writes (`checklist.sent`); the others have no outcome yet."""


async def reads_outcome(house: House, connection: Connection, definition: str, action: str) -> bool:
    """Whether a chart reacts to any outcome of this action; if so its lane is locked with the gate's other locks."""
    chart = await house.catalogue.chart(connection, definition)
    return any(f"{action}.{word}" in chart.signals for word in WORDS.values())


async def tell_outcome(
    house: House, connection: Connection, run: str, definition: str, action: str, status: str, key: str, at: datetime
) -> None:
    """Put `<action>.<outcome>` into the run's lane, if its chart reads it."""
    word = WORDS.get(status)
    chart = await house.catalogue.chart(connection, definition)
    name = f"{action}.{word}"
    if word is None or name not in chart.signals:
        return
    row = await runs.read_run(connection, run)
    await outbox.tell(
        connection,
        recipient=row.lane,
        kind="signal",
        name=name,
        event_id=f"{key}={word}",
        at=at,
        data={},
        target=run,
    )
