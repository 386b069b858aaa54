"""Quarantine: rejected events with their faults, until an operator replays or discards them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Literal, NamedTuple

import orjson
from sqlalchemy import Text, bindparam, column, func, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert

from journeys.consent.rejected_events import opt_out_of
from journeys.consent.rules import ConsentRules
from journeys.events.held_events import named_in
from journeys.events.inbound import InboundEvent, RejectedEvent, StoredEvent
from store.database import Connection, as_json, execute, fetch_all, fetch_one, sql
from store.events.message_ids import content_digest
from store.expressions import unnest, when_given
from store.rows import RowDict, loaded
from store.schema import quarantine
from store.schema.base import TextArray, Timestamp

_COLUMNS = ("message_id", "name", "faults", "event", "key_id", "content")
_given = unnest(
    "given",
    ids=quarantine.c.message_id,
    names=quarantine.c.name,
    faults=quarantine.c.faults,
    events=quarantine.c.event,
    keys=quarantine.c.key_id,
    contents=quarantine.c.content,
    names_in=column("names_in", JSONB),
)
_names = select(func.jsonb_array_elements_text(_given.c.names_in)).correlate(_given)
_named = func.array(_names.scalar_subquery(), type_=TextArray)
_HOLD = sql(
    insert(quarantine)
    .from_select(
        ["source", "received_at", *_COLUMNS, "named"],
        select(
            bindparam("source", type_=Text),
            bindparam("received_at", type_=Timestamp),
            *(_given.c[name] for name in _COLUMNS),
            _named,
        ),
    )
    .on_conflict_do_nothing(index_elements=[quarantine.c.source, quarantine.c.message_id, quarantine.c.content])
    .returning(quarantine.c.message_id)
)
_quarantined = select(
    quarantine.c.id,
    quarantine.c.source,
    quarantine.c.message_id,
    quarantine.c.key_id,
    quarantine.c.name,
    quarantine.c.faults,
    quarantine.c.event,
    quarantine.c.received_at,
    quarantine.c.status,
    quarantine.c.settled_at,
)
_LIST = sql(
    _quarantined.where(
        quarantine.c.status == bindparam("status"),
        when_given("name", quarantine.c.name),
        quarantine.c.id > bindparam("after"),
    )
    .order_by(quarantine.c.id)
    .limit(bindparam("limit"))
)
_ONE = sql(_quarantined.where(quarantine.c.id == bindparam("id")))
_SETTLE = sql(
    update(quarantine)
    .where(quarantine.c.id == bindparam("id"), quarantine.c.status == "held")
    .values(status=bindparam("status"), settled_at=func.clock_timestamp())
)
_held = func.count().label("held")
_NAMES = sql(
    select(
        quarantine.c.name,
        _held,
        func.min(quarantine.c.received_at).label("first_at"),
        func.max(quarantine.c.received_at).label("last_at"),
    )
    .where(quarantine.c.status == "held")
    .group_by(quarantine.c.name)
    .order_by(_held.desc(), quarantine.c.name)
    .limit(100)
)


class RefusedEvent(NamedTuple):
    """An event as it was given, and as it is quarantined; `field` is the one at fault, empty for the whole event."""

    given: InboundEvent
    rejected: RejectedEvent
    field: str


def refused_event(event: InboundEvent, field: str, fault: str, rules: ConsentRules) -> RefusedEvent:
    """An event for the quarantine; its opt-outs count all the same (C5), once for each content of its message id."""
    call = {"type": event.kind, "event": event.name, "properties": event.data}
    raw = event.raw if event.raw is not None else call
    opt_out = opt_out_of(rules, event, content_digest(raw).hex()[:16])
    return RefusedEvent(
        event, RejectedEvent(event.message_id, event.name, (fault,), raw, event.key_id, opt_out=opt_out), field
    )


async def hold_rejected(
    connection: Connection, rejected: Iterable[RejectedEvent], *, source: str, received_at: datetime
) -> int:
    """Store events that cannot be accepted, with their faults; the number of new ones (Q1). Each content of an id is one."""
    once = {(event.message_id, content_digest(event.raw)): event for event in rejected}
    if not once:
        return 0
    kept = await fetch_all(
        connection,
        _HOLD,
        source=source,
        received_at=received_at,
        ids=[event.message_id for event in once.values()],
        names=[event.name for event in once.values()],
        faults=[as_json(event.faults) for event in once.values()],
        events=[orjson.dumps(event.raw, default=str).decode() for event in once.values()],
        keys=[event.key_id for event in once.values()],
        contents=[content for _, content in once],
        names_in=[as_json(named_in(event.raw)) for event in once.values()],
    )
    return len(kept)


async def hold_traits(
    connection: Connection, stored: Iterable[StoredEvent], *, source: str, received_at: datetime
) -> None:
    """Store those traits of accepted events that could not be read, with their faults."""
    held = [replace(item.event.held, key_id=item.event.key_id) for item in stored if item.event.held is not None]
    await hold_rejected(connection, held, source=source, received_at=received_at)


async def list_quarantined(
    connection: Connection, *, status: str, name: str | None, after: int, limit: int
) -> list[RowDict]:
    """Quarantined events with this status, in the order of arrival."""
    rows = await fetch_all(connection, _LIST, status=status, name=name, after=after, limit=limit)
    return [_quarantined_event(dict(row)) for row in rows]


async def get_quarantined(connection: Connection, identity: int) -> RowDict | None:
    """One quarantined event; None if there is none with this number."""
    row = await fetch_one(connection, _ONE, id=identity)
    return _quarantined_event(dict(row)) if row else None


def _quarantined_event(row: RowDict) -> RowDict:
    return {**row, "faults": loaded(row["faults"]), "event": loaded(row["event"])}


async def settle_quarantined(connection: Connection, identity: int, status: Literal["replayed", "discarded"]) -> bool:
    """Mark a held event; False if it is not held any more."""
    return await execute(connection, _SETTLE, id=identity, status=status) == 1


async def quarantined_names(connection: Connection) -> list[dict[str, str | int | datetime]]:
    """The number of held events by name, most frequent first."""
    return [dict(row) for row in await fetch_all(connection, _NAMES)]
