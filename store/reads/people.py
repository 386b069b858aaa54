"""Reads of people and accounts by identity.

Nothing here locks or writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Text, bindparam, case, func, literal, select, union_all

from journeys.fields.origins import FieldOrigins
from store.database import Connection, fetch_all, fetch_one, sql
from store.expressions import any_of
from store.people.stored_origins import StoredOrigins
from store.rows import RowDict, loaded
from store.schema import identities, subjects

SubjectKind = Literal["user", "account"]

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


async def account_id(connection: Connection, key: str | None) -> str | None:
    """The id that senders use for an account."""
    row = await fetch_one(connection, _ACCOUNT_OF, key=key) if key else None
    return row["id"] if row else None
