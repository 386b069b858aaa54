"""Reads of people and accounts by identity.

Nothing here locks or writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Text, and_, bindparam, case, func, literal, select, union_all
from sqlalchemy.dialects.postgresql import aggregate_order_by

from journeys.events.held_events import HeldEvents
from journeys.fields.origins import FieldOrigins
from store.database import Connection, fetch_all, fetch_one, sql
from store.expressions import any_of, array_of
from store.people.stored_origins import StoredOrigins
from store.rows import RowDict, loaded
from store.schema import identities, quarantine, subjects

SubjectKind = Literal["user", "account"]
MOST_NAMES: Final = 5
"""Names of held events that are listed for a subject."""

_named = union_all(
    select(identities.c.subject_key.label("key"), case((identities.c.kind == "anonymous_id", 2), else_=1).label("rank"))
    .where(any_of(identities.c.kind, "kinds"), identities.c.value == bindparam("value")),
    select(func.coalesce(subjects.c.merged_into, subjects.c.key), literal(3))
    .where(subjects.c.key == bindparam("value")),
).subquery("named")  # fmt: skip
_FIND = sql(
    select(
        subjects.c.key,
        subjects.c.kind,
        subjects.c.clock,
        subjects.c.profile,
        subjects.c.origins,
        subjects.c.account_key,
        subjects.c.created_at,
        subjects.c.updated_at,
    )
    .join(_named, _named.c.key == subjects.c.key)
    .where(subjects.c.kind == bindparam("kind"))
    .order_by(_named.c.rank)
    .limit(1)
)
_same = select(bindparam("key", type_=Text).label("key")).cte("same", recursive=True)
_same = _same.union(select(subjects.c.key).join(_same, subjects.c.merged_into == _same.c.key))
_KEYS = sql(select(_same.c.key))
_IDENTITIES = sql(
    select(identities.c.kind, identities.c.value)
    .where(identities.c.subject_key == bindparam("key"))
    .order_by(identities.c.kind.desc(), identities.c.value)
    .limit(100)
)


def named_by(keys: str) -> ColumnElement[bool]:
    """Whether a held event names one of the subjects in an array parameter, as a person or as an account."""
    kind = case((identities.c.kind == "account_id", "account:"), else_="user:")
    # Ids are compared without outer blanks: an event whose id has them may be about either of two subjects.
    names = select(kind + func.btrim(identities.c.value)).where(any_of(identities.c.subject_key, keys))
    return and_(quarantine.c.status == "held", quarantine.c.named.op("&&")(func.array(names.scalar_subquery())))


_first_fault = quarantine.c.faults[0].astext
_held = (
    select(
        quarantine.c.name,
        func.count().label("count"),
        (func.array_agg(aggregate_order_by(_first_fault, quarantine.c.id.desc())))[1].label("fault"),
        func.sum(func.count()).over().label("of_all"),
    )
    .group_by(quarantine.c.name)
    .order_by(func.count().desc(), quarantine.c.name)
    .limit(MOST_NAMES)
)
_HELD_OF = sql(_held.where(named_by("keys")))
_HELD_NAMING = sql(
    _held.where(quarantine.c.status == "held", quarantine.c.named.op("&&")(array_of("names", identities.c.value)))
)
_ACCOUNT_OF = sql(
    select(func.min(identities.c.value).label("id")).where(
        identities.c.subject_key == bindparam("key"), identities.c.kind == "account_id"
    )
)


@dataclass(frozen=True, slots=True)
class SubjectKeys:
    """A person or an account, by its current key."""

    key: str
    kind: str
    clock: str | None
    profile: Mapping[str, Any]
    origins: FieldOrigins
    account_key: str | None
    created_at: datetime
    updated_at: datetime


async def find_subject(connection: Connection, kind: SubjectKind, value: str) -> SubjectKeys | None:
    """A person by user id, anonymous id or key, in this order; an account by its id or key."""
    if "\x00" in value:
        return None
    kinds = ["user_id", "anonymous_id"] if kind == "user" else ["account_id"]
    row = await fetch_one(connection, _FIND, kinds=kinds, kind=kind, value=value)
    if row is None:
        return None
    origins = StoredOrigins(row["origins"]).by_field
    return SubjectKeys(**{**row, "profile": loaded(row["profile"]), "origins": origins})


async def subject_keys(connection: Connection, key: str) -> list[str]:
    """A subject's key, and those of the visitors merged into it: merges lose no history (U2)."""
    return [row["key"] for row in await fetch_all(connection, _KEYS, key=key)]


async def identities_of_subject(connection: Connection, key: str) -> list[RowDict]:
    """The identities of a subject: user ids first, then visitors' anonymous ids, then account ids."""
    return [dict(row) for row in await fetch_all(connection, _IDENTITIES, key=key)]


async def held_events_of(connection: Connection, keys: Sequence[str]) -> tuple[list[HeldEvents], int]:
    """The quarantined events that name a subject, by name, the most frequent first; how many there are in all."""
    return _held_events(await fetch_all(connection, _HELD_OF, keys=list(keys)))


async def held_events_naming(connection: Connection, kind: SubjectKind, value: str) -> tuple[list[HeldEvents], int]:
    """The same of the events that name a person or an account by an id."""
    return _held_events(await fetch_all(connection, _HELD_NAMING, names=[f"{kind}:{value.strip()}"]))


def _held_events(rows: Sequence[Mapping[str, Any]]) -> tuple[list[HeldEvents], int]:
    groups = [HeldEvents(row["name"], row["count"], row["fault"] or "") for row in rows]
    return groups, int(rows[0]["of_all"]) if rows else 0


async def account_id(connection: Connection, key: str | None) -> str | None:
    """The id that senders use for an account."""
    row = await fetch_one(connection, _ACCOUNT_OF, key=key) if key else None
    return row["id"] if row else None
