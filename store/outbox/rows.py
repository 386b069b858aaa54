"""A row of the outbox: one occurrence for one recipient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from store.rows import loaded


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One occurrence for one recipient. `facts` is by scope; `target` is the one run it is for, if only one."""

    recipient: str
    seq: int
    kind: str
    name: str
    event_id: str
    at: datetime
    data: Mapping[str, Any]
    facts: Mapping[str, Mapping[str, Any]] | None = None
    target: str | None = None
    id: int = 0
    delivered_at: datetime | None = None
    size: int = 0
    """Bytes of `data` and `facts`, as stored."""
    trace: str | None = None
    """Trace of its cause (`journeys/events/tracing.py`), continued by the step that decides it; not read by the relay."""


def outbox_row(row: Mapping[str, Any]) -> OutboxRow:
    """A selected row, without the columns that only its writer needs."""
    facts = row["facts"]
    return OutboxRow(
        recipient=row["recipient"],
        seq=row["seq"],
        kind=row["kind"],
        name=row["name"],
        event_id=row["event_id"],
        at=row["at"],
        data=loaded(row["data"]),
        facts=loaded(facts),
        target=row["target"],
        id=row["id"],
        size=len(row["data"]) + len(facts or ""),
    )
