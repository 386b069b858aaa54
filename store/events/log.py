"""The log of accepted events: its one insert, for batches and for single events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Text, bindparam, exists, not_, select
from sqlalchemy.dialects.postgresql import insert

from journeys.events.inbound import InboundEvent, ResolvedEvent, StoredEvent
from store.database import Connection, as_json, fetch_all, sql
from store.events.instants import TimedEvent
from store.events.message_ids import content_of, id_digest, known_contents, other_contents
from store.exports import feed
from store.expressions import unnest
from store.schema import events, message_ids
from store.schema.base import Timestamp

_given = unnest(
    "given",
    number="place",
    ids=events.c.message_id,
    kinds=events.c.kind,
    names=events.c.name,
    keys=events.c.subject_key,
    ats=events.c.at,
    occurred=events.c.occurred_at,
    datas=events.c.data,
    contexts=events.c.context,
    traces=events.c.trace,
    contents=events.c.content,
    accounts=events.c.account_key,
    digests=message_ids.c.digest,
)
_columns = (
    "message_id", "kind", "name", "subject_key", "at", "occurred_at", "data", "context", "trace", "content",
    "account_key",
)  # fmt: skip
_INSERT = sql(
    insert(events)
    .from_select(
        ["source", "received_at", *_columns],
        select(
            bindparam("source", type_=Text),
            bindparam("received_at", type_=Timestamp),
            *(_given.c[name] for name in _columns),
        )
        .where(not_(exists().where(message_ids.c.digest == _given.c.digest)))
        .order_by(_given.c.place),  # events are numbered in the order of their batch
    )
    .on_conflict_do_nothing(index_elements=[events.c.source, events.c.message_id])
    .returning(events.c.message_id, events.c.id)
)


class NewEvent(NamedTuple):
    """An event with its subject, its instants, and the account whose fields it gives."""

    event: InboundEvent
    subject_key: str
    at: datetime
    account: str | None
    occurred_at: datetime


async def store_batch(
    connection: Connection,
    timed: Sequence[TimedEvent],
    *,
    source: str,
    received_at: datetime,
) -> tuple[list[StoredEvent], list[InboundEvent]]:
    """Store a batch in one statement; the events that are new, and those whose message id has other content.

    Of one message id the first event counts.
    """
    once: dict[str, TimedEvent] = {}
    for timed_event in timed:
        once.setdefault(timed_event.item.event.message_id, timed_event)
    numbers = await _insert(
        connection,
        [
            NewEvent(of.item.event, of.item.subject_key, of.at, _account_of(of.item), of.occurred_at)
            for of in once.values()
        ],
        source=source,
        received_at=received_at,
    )
    stored = [
        _stored(of, source, number)
        for message_id, of in once.items()
        if (number := numbers.get(message_id)) is not None
    ]
    await _feed_reactions(connection, stored)
    return stored, await _other_contents(connection, [of.item.event for of in timed], numbers, source)


def _stored(timed: TimedEvent, source: str, number: int) -> StoredEvent:
    item = timed.item
    return StoredEvent(
        item.event,
        source,
        number,
        timed.at,
        item.subject_key,
        item.named_account,
        item.changes_identity,
        timed.occurred_at,
        timed.accepted_at,
    )


async def _other_contents(
    connection: Connection, given: Sequence[InboundEvent], new: Mapping[str, int], source: str
) -> list[InboundEvent]:
    """The events whose message id has other content, in the store or in this batch; nothing is asked if all are new."""
    repeated = [event.message_id for event in given if event.message_id not in new and event.raw is not None]
    known = await known_contents(connection, source, repeated)
    is_once = not repeated and len(new) == len(given)
    return [] if is_once else other_contents(given, known)


def _account_of(item: ResolvedEvent) -> str | None:
    return item.named_account if item.event.kind == "group" else None


async def store_one(
    connection: Connection, event: InboundEvent, at: datetime, *, source: str, received_at: datetime
) -> StoredEvent | None:
    """Store one event of Tenure's own, which names its subject by key; None if it was stored before."""
    assert event.subject_key is not None
    new = NewEvent(event, event.subject_key, at, None, at)
    numbers = await _insert(connection, [new], source=source, received_at=received_at)
    if event.message_id not in numbers:
        return None
    stored = StoredEvent(event, source, numbers[event.message_id], at, event.subject_key)
    await _feed_reactions(connection, [stored])
    return stored


async def _insert(
    connection: Connection,
    new: Sequence[NewEvent],
    *,
    source: str,
    received_at: datetime,
) -> dict[str, int]:
    """The numbers of the new events, by message id.

    A trace is stored only where it was given: an event's own trace is derived from its stored columns.
    """
    rows = await fetch_all(
        connection,
        _INSERT,
        source=source,
        received_at=received_at,
        ids=[item.event.message_id for item in new],
        kinds=[item.event.kind for item in new],
        names=[item.event.name for item in new],
        keys=[item.subject_key for item in new],
        ats=[item.at for item in new],
        occurred=[item.occurred_at if item.occurred_at != item.at else None for item in new],
        datas=[as_json(item.event.traits or item.event.data) for item in new],
        contexts=[as_json(item.event.context) if item.event.context else None for item in new],
        traces=[item.event.trace for item in new],
        contents=[content_of(item.event) for item in new],
        accounts=[item.account for item in new],
        digests=[id_digest(source, item.event.message_id) for item in new],
    )
    return {row["message_id"]: row["id"] for row in rows}


async def _feed_reactions(connection: Connection, stored: Iterable[StoredEvent]) -> None:
    reactions = [item.number for item in stored if feed.is_reaction(item.event.name, item.event.data)]
    await feed.record_reaction(connection, reactions)
