"""Instants of a batch's events, and the order in which the batch is applied.

`at` orders decisions; `occurred_at`, the sender's corrected time at any age, orders fields, counters and consent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from journeys.events.inbound import ResolvedEvent
from journeys.events.segment import decision_instant, occurred_at
from store.database import Connection
from store.people.subjects import Subject
from store.people.test_clocks import hold_clocks, read_instants


class TimedEvent(NamedTuple):
    """A resolved event with its instants; `accepted_at` is that of its acceptance, by its subject's own clock."""

    item: ResolvedEvent
    at: datetime
    occurred_at: datetime
    accepted_at: datetime


async def in_order_of_instants(
    connection: Connection,
    resolved: Sequence[ResolvedEvent],
    locked: Mapping[str, Subject],
    received_at: datetime,
    *,
    outside: bool,
) -> list[TimedEvent]:
    """The events of a batch in the order in which they happened (`occurred_at`); at one instant in their sender's order.

    Within a lane `at` never falls: it is not before the lane's timers are decided, nor before an earlier event of the batch.
    What comes from `outside` keeps the test clocks standing until the commit. Raises ClockAdvancing.
    """
    names = {item.clock for item in resolved if item.clock is not None}
    clocks = await (hold_clocks if outside else read_instants)(connection, names)
    happened = []
    for item in resolved:
        virtual = clocks.get(item.clock) if item.clock is not None else None
        received = virtual or received_at
        happened.append((item, occurred_at(item.event, received, virtual=virtual is not None), received))
    floors, reached = _decided_until(resolved, locked), dict[str, datetime]()
    timed = []
    for item, occurred, received in sorted(happened, key=lambda entry: entry[1]):
        lanes = item.lanes & locked.keys()
        known = [floors.get(item.subject_key), *(reached.get(lane) for lane in lanes)]
        at = decision_instant(
            occurred, received, floor=max((floor for floor in known if floor is not None), default=None)
        )
        reached |= dict.fromkeys(lanes, at)
        timed.append(TimedEvent(item, at, occurred, received))
    return timed


def _decided_until(resolved: Sequence[ResolvedEvent], locked: Mapping[str, Subject]) -> dict[str, datetime]:
    """By subject, the instant up to which the lanes that its events may enter are decided.

    These lanes are its own, its accounts', and those of subjects that the events join.
    """
    lanes: dict[str, set[str]] = {}
    for item in resolved:
        people = [key for key in item.subjects if key in locked]
        if not people:
            continue
        entered = {*people, *(account for key in people if (account := locked[key].account_key))}
        if item.named_account:
            entered.add(item.named_account)
        for key in people:
            lanes.setdefault(key, set()).update(entered & locked.keys())
    decided = {
        key: [at for lane in entered if (at := locked[lane].decided_at) is not None] for key, entered in lanes.items()
    }
    return {key: max(ats) for key, ats in decided.items() if ats}
