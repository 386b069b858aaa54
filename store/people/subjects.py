"""Rows of people and accounts: read, locked, saved.

Keys are random and outlive merges.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, case, func, or_, select, update

from store.database import Connection, as_json, execute, fetch_all, fetch_one, sql
from store.errors import Contended
from store.expressions import any_of, unnest
from store.people.stored_origins import StoredOrigins
from store.rows import loaded
from store.schema import subjects
from store.schema.base import Timestamp

_IDENTITY = ("key", "kind", "seq", "decided_at", "clock", "profile", "origins", "account_key")
_COUNTERS = ("members_seq", "copied_seq", "member_number")
_row = select(*(subjects.c[name] for name in (*_IDENTITY, *_COUNTERS)))
_LOCK = sql(
    _row.add_columns(subjects.c.merged_into)
    .where(any_of(subjects.c.key, "keys"))
    .order_by(subjects.c.key)
    .with_for_update(key_share=True)
)
_LOCK_BEHIND = sql(
    _row.where(subjects.c.account_key == bindparam("account"), subjects.c.copied_seq < bindparam("seq"))
    .order_by(subjects.c.copied_seq, subjects.c.member_number)
    .limit(bindparam("most"))
    .with_for_update(key_share=True, skip_locked=True)
)
_changed = unnest(
    "changed",
    keys=subjects.c.key,
    seqs=subjects.c.seq,
    profiles=subjects.c.profile,
    origins=subjects.c.origins,
    accounts=subjects.c.account_key,
    members=subjects.c.members_seq,
    copied=subjects.c.copied_seq,
    numbers=subjects.c.member_number,
)
_is_behind = case(
    (_changed.c.members_seq > subjects.c.members_seq, func.coalesce(subjects.c.behind_since, func.clock_timestamp())),
    else_=subjects.c.behind_since,
)
_SAVE = sql(
    update(subjects)
    .where(subjects.c.key == _changed.c.key)
    .values(
        seq=_changed.c.seq,
        profile=_changed.c.profile,
        origins=_changed.c.origins,
        account_key=_changed.c.account_key,
        members_seq=_changed.c.members_seq,
        copied_seq=_changed.c.copied_seq,
        member_number=_changed.c.member_number,
        behind_since=_is_behind,
        updated_at=func.now(),
    )
)
_places = unnest("places", keys=subjects.c.key, seqs=subjects.c.seq, copied=subjects.c.copied_seq)
_SAVE_PLACES = sql(
    update(subjects).where(subjects.c.key == _places.c.key).values(seq=_places.c.seq, copied_seq=_places.c.copied_seq)
)
_CANONICAL = sql(
    select(func.coalesce(subjects.c.merged_into, subjects.c.key).label("key")).where(subjects.c.key == bindparam("key"))
)
_ACCOUNT = sql(select(subjects.c.account_key, subjects.c.clock).where(subjects.c.key == bindparam("key")))
_ACCOUNTS = sql(
    select(subjects.c.account_key).distinct().where(any_of(subjects.c.key, "keys"), subjects.c.account_key.is_not(None))
)
_DECIDED = sql(
    update(subjects)
    .where(
        any_of(subjects.c.key, "keys"),
        or_(subjects.c.decided_at.is_(None), subjects.c.decided_at < bindparam("at")),
    )
    .values(decided_at=func.greatest(subjects.c.decided_at, bindparam("at", type_=Timestamp)))
)
_PROFILE = sql(select(subjects.c.profile, subjects.c.clock).where(subjects.c.key == bindparam("key")))


@dataclass(slots=True)
class Subject:
    """A locked row. `seq` grows with each outbox row; `changed` are fields whose change no lane has received yet.

    `members_seq` is the `seq` of an account's last row for its members. `copied_seq` is the `seq` up to which a person's lane
    has their account's rows; None where the person has no open run. `member_number` counts those who were put into an
    account; of a person it is their number.
    """

    key: str
    kind: str
    seq: int
    decided_at: datetime | None
    clock: str | None
    profile: dict[str, Any]
    account_key: str | None
    members_seq: int = 0
    copied_seq: int | None = None
    member_number: int = 0
    origins: StoredOrigins = field(default_factory=StoredOrigins)
    changed: set[str] = field(default_factory=set)
    dirty: bool = False

    def take_changes(self) -> frozenset[str]:
        """The fields that have changed since the last call."""
        changes = frozenset(self.changed)
        self.changed.clear()
        return changes

    def change(self, values: Mapping[str, Any]) -> None:
        """Change fields, whatever their origins; null removes a field."""
        for name, value in values.items():
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
    return {row["key"]: _subject(row) for row in rows}


async def lock_members_behind(connection: Connection, account: str, seq: int, most: int) -> list[Subject]:
    """Lock members of an account whose lanes lack rows of it up to `seq`, the furthest behind first, in the order of joining.

    Those that somebody else has locked are left out, so the order of locks does not matter.
    """
    return [_subject(row) for row in await fetch_all(connection, _LOCK_BEHIND, account=account, seq=seq, most=most)]


def _subject(row: Mapping[str, Any]) -> Subject:
    return Subject(
        row["key"],
        row["kind"],
        row["seq"],
        row["decided_at"],
        row["clock"],
        loaded(row["profile"]),
        row["account_key"],
        row["members_seq"],
        row["copied_seq"],
        row["member_number"],
        StoredOrigins(row["origins"]),
    )


async def canonical_key(connection: Connection, key: str) -> str:
    """The current key of a subject: a merged visitor's is the user's, which never changes again."""
    rows = await fetch_all(connection, _CANONICAL, key=key)
    return str(rows[0]["key"]) if rows else key


async def account_of(connection: Connection, key: str) -> str | None:
    """The account of a person, read without a lock."""
    rows = await fetch_all(connection, _ACCOUNT, key=key)
    return rows[0]["account_key"] if rows else None


async def accounts_of_people(connection: Connection, people: Collection[str]) -> set[str]:
    """The accounts of these people, read without a lock."""
    if not people:
        return set()
    return {row["account_key"] for row in await fetch_all(connection, _ACCOUNTS, keys=sorted(people))}


async def profile_of(connection: Connection, key: str) -> dict[str, Any]:
    """The fields of a subject, read without a lock; empty if there is none."""
    profile, _ = await profile_and_clock_of(connection, key)
    return profile


async def profile_and_clock_of(connection: Connection, key: str) -> tuple[dict[str, Any], str | None]:
    """The fields of a subject and the name of its test clock, read without a lock; empty and None if there is none."""
    row = await fetch_one(connection, _PROFILE, key=key)
    return (dict(loaded(row["profile"])), row["clock"]) if row is not None else ({}, None)


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
            origins=[subject.origins.as_json() for subject in dirty],
            accounts=[subject.account_key for subject in dirty],
            members=[subject.members_seq for subject in dirty],
            copied=[subject.copied_seq for subject in dirty],
            numbers=[subject.member_number for subject in dirty],
        )


async def save_places(connection: Connection, locked: Sequence[Subject]) -> None:
    """Write back how far the lanes of people have come, and nothing else of theirs."""
    await execute(
        connection,
        _SAVE_PLACES,
        keys=[subject.key for subject in locked],
        seqs=[subject.seq for subject in locked],
        copied=[subject.copied_seq for subject in locked],
    )


async def decided_until(connection: Connection, keys: Sequence[str], at: datetime) -> None:
    """Record that the subjects' timers are decided up to `at`: nothing accepted later has an earlier instant."""
    await execute(connection, _DECIDED, keys=list(keys), at=at)
