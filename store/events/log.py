"""The log of accepted events: its one insert, for batches and for single events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Text, bindparam, exists, not_, select
from sqlalchemy.dialects.postgresql import insert

from journeys.events.inbound import InboundEvent, ResolvedEvent, StoredEvent
from store.database import Connection, as_json, fetch_all, sql
from store.events.instants import EventInstants
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
    datas=events.c.data,
    contexts=events.c.context,
    traces=events.c.trace,
    contents=events.c.content,
    accounts=events.c.account_key,
    digests=message_ids.c.digest,
)
_columns = ("message_id", "kind", "name", "subject_key", "at", "data", "context", "trace", "content", "account_key")
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


async def store_batch(
    connection: Connection,
    resolved: Sequence[ResolvedEvent],
    instants: Sequence[EventInstants],
    *,
    source: str,
    received_at: datetime,
) -> tuple[list[StoredEvent], list[InboundEvent]]:
    """Store a batch in one statement; the events that are new, and those whose message id has other content.

    Of one message id the first event counts.
    """
    once: dict[str, tuple[ResolvedEvent, EventInstants]] = {}
    for item, of_event in zip(resolved, instants, strict=True):
        once.setdefault(item.event.message_id, (item, of_event))
    numbers = await _insert(
        connection,
        [(item.event, item.subject_key, of_event.at, _account_of(item)) for item, of_event in once.values()],
        source=source,
        received_at=received_at,
    )
    stored = [
        StoredEvent(
            item.event, source, number, at, item.subject_key, item.named_account, item.changes_identity, occurred
        )
        for message_id, (item, (at, occurred)) in once.items()
        if (number := numbers.get(message_id)) is not None
    ]
    await _feed_reactions(connection, stored)
    return stored, await _other_contents(connection, [item.event for item in resolved], numbers, source)


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
    numbers = await _insert(connection, [(event, event.subject_key, at, None)], source=source, received_at=received_at)
    if event.message_id not in numbers:
        return None
    stored = StoredEvent(event, source, numbers[event.message_id], at, event.subject_key)
    await _feed_reactions(connection, [stored])
    return stored


async def _insert(
    connection: Connection,
    new: Sequence[tuple[InboundEvent, str, datetime, str | None]],
    *,
    source: str,
    received_at: datetime,
) -> dict[str, int]:
    """The numbers of the new events (each with its subject, instant and account), by message id.

    A trace is stored only where it was given: an event's own trace is derived from its stored columns.
    """
    rows = await fetch_all(
        connection,
        _INSERT,
        source=source,
        received_at=received_at,
        ids=[event.message_id for event, *_ in new],
        kinds=[event.kind for event, *_ in new],
        names=[event.name for event, *_ in new],
        keys=[key for _, key, _, _ in new],
        ats=[at for _, _, at, _ in new],
        datas=[as_json(event.traits or event.data) for event, *_ in new],
        contexts=[as_json(event.context) if event.context else None for event, *_ in new],
        traces=[event.trace for event, *_ in new],
        contents=[content_of(event) for event, *_ in new],
        accounts=[account for *_, account in new],
        digests=[id_digest(source, event.message_id) for event, *_ in new],
    )
    return {row["message_id"]: row["id"] for row in rows}


async def _feed_reactions(connection: Connection, stored: Iterable[StoredEvent]) -> None:
    reactions = [item.number for item in stored if feed.is_reaction(item.event.name, item.event.data)]
    await feed.record_reaction(connection, reactions)
