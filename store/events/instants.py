"""Instants of a batch's events, for every decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from journeys.events.inbound import ResolvedEvent
from journeys.events.segment import accepted_at, occurred_at
from store.database import Connection
from store.people.subjects import Subject
from store.people.test_clocks import hold_clocks, read_instants


class EventInstants(NamedTuple):
    """Instants of an event: `at` for every decision, `occurred_at` for the order of statements of consent."""

    at: datetime
    occurred_at: datetime


async def instants_of(
    connection: Connection,
    resolved: Sequence[ResolvedEvent],
    locked: Mapping[str, Subject],
    received_at: datetime,
    *,
    outside: bool,
) -> list[EventInstants]:
    """The instants of each event: on its subject's test clock, and not before its lanes' timers are decided.

    What comes from `outside` keeps the test clocks standing until the commit. Raises ClockAdvancing.
    """
    names = {item.clock for item in resolved if item.clock is not None}
    clocks = await (hold_clocks if outside else read_instants)(connection, names)
    floors = _decided_until(resolved, locked)
    instants = []
    for item in resolved:
        virtual = clocks.get(item.clock) if item.clock is not None else None
        floor = floors.get(item.subject_key)
        received, is_virtual = virtual or received_at, virtual is not None
        at = accepted_at(item.event, received, virtual=is_virtual, floor=floor)
        instants.append(EventInstants(at, occurred_at(item.event, received, virtual=is_virtual)))
    return instants


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
