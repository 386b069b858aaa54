"""Addresses that public keys have given visitors.

They do not become those of known users: a stranger can make a browser adopt their visitor, who is merged into the user
when that browser's user signs in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from sqlalchemy import bindparam, delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from journeys.events.inbound import StoredEvent
from journeys.fields.origins import ADDRESSES
from store.database import Connection, execute, fetch_all, sql
from store.expressions import unnest
from store.schema import claimed_fields

_given = unnest("given", keys=claimed_fields.c.subject_key, fields=claimed_fields.c.field)
_CLAIM = sql(insert(claimed_fields).from_select(["subject_key", "field"], select(_given)).on_conflict_do_nothing())
_SETTLE = sql(
    delete(claimed_fields).where(
        tuple_(claimed_fields.c.subject_key, claimed_fields.c.field).in_(select(_given.c.subject_key, _given.c.field))
    )
)
_TAKE = sql(
    delete(claimed_fields).where(claimed_fields.c.subject_key == bindparam("key")).returning(claimed_fields.c.field)
)


def addresses_given(item: StoredEvent) -> frozenset[str]:
    """The address fields that an event gives a person without naming a user."""
    event = item.event
    if event.kind != "identify" or event.user_id is not None:
        return frozenset()
    return ADDRESSES & event.traits.keys()


def without_claims(item: StoredEvent) -> StoredEvent:
    """An event about a known user without the addresses that a public key gives them."""
    fields = addresses_given(item) if item.event.claimed else frozenset[str]()
    if not fields:
        return item
    traits = {name: value for name, value in item.event.traits.items() if name not in fields}
    return replace(item, event=replace(item.event, traits=traits))


async def record_claims(connection: Connection, stored: Iterable[StoredEvent], users: Collection[str]) -> None:
    """Record which addresses of visitors are claimed, by the last event of each that gives them one; of `users` none."""
    last: dict[tuple[str, str], bool] = {}
    for item in stored:
        if item.subject_key not in users:
            for field in addresses_given(item):
                last[item.subject_key, field] = item.event.claimed
    for statement, claimed in ((_CLAIM, True), (_SETTLE, False)):
        pairs = [pair for pair, is_claimed in last.items() if is_claimed is claimed]
        if pairs:
            keys, fields = zip(*pairs, strict=True)
            await execute(connection, statement, keys=list(keys), fields=list(fields))


async def take_claims(connection: Connection, visitor: str) -> frozenset[str]:
    """The fields of a visitor that are claimed; the record of them ends, as the visitor turns out to be a user."""
    return frozenset(row["field"] for row in await fetch_all(connection, _TAKE, key=visitor))
