"""Rows of people and accounts: read, locked, saved.

Keys are random and outlive merges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, or_, select, update

from store.database import Connection, as_json, execute, fetch_all, fetch_one, sql
from store.errors import Contended
from store.expressions import any_of, unnest
from store.rows import loaded
from store.schema import subjects
from store.schema.base import Timestamp

_LOCK = sql(
    select(
        subjects.c.key,
        subjects.c.kind,
        subjects.c.seq,
        subjects.c.decided_at,
        subjects.c.clock,
        subjects.c.profile,
        subjects.c.account_key,
        subjects.c.merged_into,
    )
    .where(any_of(subjects.c.key, "keys"))
    .order_by(subjects.c.key)
    .with_for_update(key_share=True)
)
_changed = unnest(
    "changed",
    keys=subjects.c.key,
    seqs=subjects.c.seq,
    profiles=subjects.c.profile,
    accounts=subjects.c.account_key,
)
_SAVE = sql(
    update(subjects)
    .where(subjects.c.key == _changed.c.key)
    .values(seq=_changed.c.seq, profile=_changed.c.profile, account_key=_changed.c.account_key, updated_at=func.now())
)
_CANONICAL = sql(
    select(func.coalesce(subjects.c.merged_into, subjects.c.key).label("key")).where(subjects.c.key == bindparam("key"))
)
_ACCOUNT = sql(select(subjects.c.account_key, subjects.c.clock).where(subjects.c.key == bindparam("key")))
_DECIDED = sql(
    update(subjects)
    .where(
        any_of(subjects.c.key, "keys"),
        or_(subjects.c.decided_at.is_(None), subjects.c.decided_at < bindparam("at")),
    )
    .values(decided_at=func.greatest(subjects.c.decided_at, bindparam("at", type_=Timestamp)))
)
_PROFILE = sql(select(subjects.c.profile).where(subjects.c.key == bindparam("key")))


@dataclass(slots=True)
class Subject:
    """A locked row. `seq` grows with each outbox row; `changed` are fields whose change no lane has received yet."""

    key: str
    kind: str
    seq: int
    decided_at: datetime | None
    clock: str | None
    profile: dict[str, Any]
    account_key: str | None
    changed: set[str] = field(default_factory=set)
    dirty: bool = False

    def take_changes(self) -> frozenset[str]:
        """The fields that have changed since the last call."""
        changes = frozenset(self.changed)
        self.changed.clear()
        return changes

    def merge(self, traits: Mapping[str, Any]) -> None:
        """New values win; null removes a field."""
        for name, value in traits.items():
            if self.profile.get(name) != value:
                self.changed.add(name)
                self.dirty = True
                if value is None:
                    self.profile.pop(name, None)
                else:
                    self.profile[name] = value

    def next_seq(self) -> int:
        self.seq += 1
        self.dirty = True
        return self.seq


def account_in(key: str) -> str | None:
    """The key itself if it is an account's: the account that a message of an account's journey is about."""
    return key if key.startswith("a_") else None


async def lock_subjects(connection: Connection, keys: Iterable[str]) -> dict[str, Subject]:
    """Lock subjects in key order, before anything else (`store/locks.py`).

    Raises Contended if one was merged since its key was read (`canonical_key`).
    """
    ordered = sorted(set(keys))
    if not ordered:
        return {}
    rows = await fetch_all(connection, _LOCK, keys=ordered)
    if any(row["merged_into"] for row in rows):
        raise Contended
    return {
        row["key"]: Subject(
            row["key"],
            row["kind"],
            row["seq"],
            row["decided_at"],
            row["clock"],
            loaded(row["profile"]),
            row["account_key"],
        )
        for row in rows
    }


async def canonical_key(connection: Connection, key: str) -> str:
    """The current key of a subject: a merged visitor's is the user's, which never changes again."""
    rows = await fetch_all(connection, _CANONICAL, key=key)
    return str(rows[0]["key"]) if rows else key


async def account_of(connection: Connection, key: str) -> str | None:
    """The account of a person, read without a lock."""
    rows = await fetch_all(connection, _ACCOUNT, key=key)
    return rows[0]["account_key"] if rows else None


async def profile_of(connection: Connection, key: str) -> dict[str, Any]:
    """The fields of a subject, read without a lock; empty if there is none."""
    row = await fetch_one(connection, _PROFILE, key=key)
    return dict(loaded(row["profile"])) if row is not None else {}


async def clock_name_of(connection: Connection, key: str) -> str | None:
    """The name of the test clock a subject belongs to."""
    rows = await fetch_all(connection, _ACCOUNT, key=key)
    return rows[0]["clock"] if rows else None


async def save_subjects(connection: Connection, locked: Iterable[Subject]) -> None:
    """Write back what changed, in one statement."""
    dirty = [subject for subject in locked if subject.dirty]
    if dirty:
        await execute(
            connection,
            _SAVE,
            keys=[subject.key for subject in dirty],
            seqs=[subject.seq for subject in dirty],
            profiles=[as_json(subject.profile) for subject in dirty],
            accounts=[subject.account_key for subject in dirty],
        )


async def decided_until(connection: Connection, keys: Sequence[str], at: datetime) -> None:
    """Record that the subjects' timers are decided up to `at`: nothing accepted later has an earlier instant."""
    await execute(connection, _DECIDED, keys=list(keys), at=at)
