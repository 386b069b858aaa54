"""A row of the outbox: one occurrence for one recipient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from journeys.decision.chart import Chart
from journeys.language.actions import PRESSING, PRIORITIES, Priority
from store.rows import loaded
from store.schema import outbox


def urgency_of(priority: Priority, *, is_copy: bool = False) -> int:
    """The order in which lanes are claimed, least first: by priority (C6), copies after all others of theirs."""
    return 2 * PRIORITIES.index(priority) + is_copy


def most_urgent(charts: Iterable[Chart]) -> Priority:
    """The most urgent priority of charts; that of lifecycle messages if there are none."""
    return min((chart.priority for chart in charts), key=PRIORITIES.index, default="lifecycle")


PRESSING_URGENCY: Final = max(urgency_of(priority, is_copy=True) for priority in PRESSING)
"""The urgency of rows that may cause urgent support or transactional messages, at the most."""
USUAL_URGENCY: Final = urgency_of("lifecycle")
LEAST_URGENCY: Final = urgency_of(PRIORITIES[-1], is_copy=True)

COLUMNS = (
    outbox.c.id,
    outbox.c.recipient,
    outbox.c.seq,
    outbox.c.kind,
    outbox.c.name,
    outbox.c.event_id,
    outbox.c.at,
    outbox.c.data,
    outbox.c.facts,
    outbox.c.target,
    outbox.c.occurred_at,
    outbox.c.urgency,
)
"""The columns that `outbox_row` reads."""


@dataclass(frozen=True, slots=True)
class ForMembers:
    """What members get of their account's row: the signal, or changed fields alone.

    It concerns members with an open run of one of these `definitions`. `profile` names the fields of theirs that go with it:
    all that some journey read when the row was committed.
    """

    kind: Literal["signal", "facts"]
    definitions: frozenset[str]
    profile: frozenset[str]
    priority: Priority = "lifecycle"
    """The most urgent priority of these definitions."""

    def json(self) -> dict[str, Any]:
        """As the column `for_members` has it."""
        return {
            "kind": self.kind,
            "definitions": sorted(self.definitions),
            "profile": sorted(self.profile),
            "priority": self.priority,
        }


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
    for_members: ForMembers | None = None
    urgency: int | None = None
    """See `urgency_of`; None is that of its target run, of lifecycle messages without a target."""
    copy_of: int | None = None
    """Of a copy in a member's lane, the `id` of the account's row."""
    occurred_at: datetime | None = None
    """Of an old event, when it happened: a run that began since does not receive it."""

    @property
    def priority(self) -> int:
        """The position of the priority that its urgency is of, urgent support first."""
        return (USUAL_URGENCY if self.urgency is None else self.urgency) // 2


def outbox_row(row: Mapping[str, Any]) -> OutboxRow:
    """A selected row (`COLUMNS`), without the columns that only its writer needs."""
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
        occurred_at=row["occurred_at"],
        urgency=row["urgency"],
    )


def for_members_of(value: Any) -> ForMembers:
    """The inverse of `ForMembers.json`, from the column."""
    found = loaded(value)
    priority = found.get("priority", "lifecycle")  # a row of an earlier version has none
    return ForMembers(found["kind"], frozenset(found["definitions"]), frozenset(found["profile"]), priority)
