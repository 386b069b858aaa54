"""People and accounts: who an identity is, their row under lock, their profile. Keys are random and outlive merges."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from store.database import Connection, as_json, execute, fetch_all, sql

Identity = tuple[str, str]
"""(kind, value): kind is `user_id`, `anonymous_id` or `account_id`."""

_FIND = sql(
    """
    SELECT i.kind, i.value, i.subject_key, s.account_key
    FROM identities i JOIN unnest(CAST(:kinds AS text[]), CAST(:values AS text[])) AS w(kind, value)
      ON i.kind = w.kind AND i.value = w.value
    JOIN subjects s ON s.key = i.subject_key
    """
)
_BY_KEY = sql("SELECT key, account_key FROM subjects WHERE key = ANY(CAST(:keys AS text[]))")
_CREATE = sql(
    """
    INSERT INTO subjects (key, kind, clock)
    SELECT * FROM unnest(CAST(:keys AS text[]), CAST(:kinds AS text[]), CAST(:clocks AS text[]))
    """
)
_NAME = sql(
    """
    INSERT INTO identities (kind, value, subject_key)
    SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[]), CAST(:keys AS text[]))
    ON CONFLICT (kind, value) DO NOTHING RETURNING kind, value
    """
)
_LANES = sql("INSERT INTO lanes (recipient) SELECT unnest(CAST(:keys AS text[])) ON CONFLICT DO NOTHING")
_LOCK = sql(
    """
    SELECT key, kind, seq, decided_at, clock, profile, account_key, merged_into FROM subjects
    WHERE key = ANY(CAST(:keys AS text[])) ORDER BY key FOR NO KEY UPDATE
    """
)
_SAVE = sql(
    """
    UPDATE subjects s SET seq = w.seq, profile = w.profile, account_key = w.account_key, updated_at = now()
    FROM unnest(CAST(:keys AS text[]), CAST(:seqs AS bigint[]), CAST(:profiles AS jsonb[]), CAST(:accounts AS text[]))
      AS w(key, seq, profile, account_key)
    WHERE s.key = w.key
    """
)
_NAMED_USERS = sql(
    "SELECT DISTINCT subject_key FROM identities WHERE subject_key = ANY(CAST(:keys AS text[])) AND kind = 'user_id'"
)
_CLOCKS = sql("SELECT key, clock FROM subjects WHERE key = ANY(CAST(:keys AS text[]))")
_NOW = sql("SELECT coalesce(merged_into, key) AS key FROM subjects WHERE key = :key")
_ACCOUNT = sql("SELECT account_key, clock FROM subjects WHERE key = :key")


class Contended(Exception):
    """Someone else named or merged the same identity meanwhile; the whole transaction is tried again."""


@dataclass(slots=True)
class Subject:
    """A locked row. `seq` grows with each outbox row; `changed` are the profile fields this commit changed."""

    key: str
    kind: str
    seq: int
    decided_at: datetime | None
    clock: str | None
    profile: dict[str, Any]
    account_key: str | None
    changed: set[str] = field(default_factory=set)
    dirty: bool = False

    def merge(self, traits: Mapping[str, Any]) -> None:
        """New values win; null forgets a field."""
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


def new_key(kind: str) -> str:
    """A random key: nothing personal in ids (design §9)."""
    return ("u_" if kind == "user" else "a_") + secrets.token_hex(8)


def account_in(key: str) -> str | None:
    """The key itself where it is an account's: what a message of an account's journey is about."""
    return key if key.startswith("a_") else None


async def find_subjects(
    connection: Connection, identities: Iterable[Identity]
) -> dict[Identity, tuple[str, str | None]]:
    """The subject key and account key of each identity that is known."""
    wanted = sorted(set(identities))
    found = await fetch_all(connection, _FIND, kinds=[k for k, _ in wanted], values=[v for _, v in wanted])
    known = {(item["kind"], item["value"]): (item["subject_key"], item["account_key"]) for item in found}
    keys = [value for kind, value in wanted if kind == "key"]
    for item in await fetch_all(connection, _BY_KEY, keys=keys) if keys else ():
        known["key", item["key"]] = (item["key"], item["account_key"])
    return known


async def create_subjects(
    connection: Connection, groups: list[tuple[Identity, ...]], clock: str | None
) -> dict[Identity, str]:
    """One new subject for each group of identities. Raises Contended if someone was quicker."""
    keys: dict[Identity, str] = {}
    kinds: dict[str, str] = {}
    for group in groups:
        kind = "account" if group[0][0] == "account_id" else "user"
        key = new_key(kind)
        kinds[key] = kind
        keys |= dict.fromkeys(group, key)
    ordered = sorted(keys)
    await execute(connection, _CREATE, keys=list(kinds), kinds=list(kinds.values()), clocks=[clock] * len(kinds))
    await name_subjects(connection, [(identity, keys[identity]) for identity in ordered])
    await execute(connection, _LANES, keys=sorted(kinds))
    return keys


async def name_subjects(connection: Connection, named: list[tuple[Identity, str]]) -> None:
    """Attach identities to subjects, in order. Raises Contended if one is taken meanwhile."""
    taken = await fetch_all(
        connection,
        _NAME,
        kinds=[identity[0] for identity, _ in named],
        values=[identity[1] for identity, _ in named],
        keys=[key for _, key in named],
    )
    if len(taken) != len(named):
        raise Contended


async def lock_subjects(connection: Connection, keys: Iterable[str]) -> dict[str, Subject]:
    """Lock subjects in key order, so that no two transactions wait for each other in a circle.

    Raises Contended if one has turned out to be somebody else since our look (`now_known_as`).
    """
    wanted = sorted(set(keys))
    if not wanted:
        return {}
    found = await fetch_all(connection, _LOCK, keys=wanted)
    if any(item["merged_into"] for item in found):
        raise Contended
    return {
        item["key"]: Subject(
            item["key"],
            item["kind"],
            item["seq"],
            item["decided_at"],
            item["clock"],
            orjson.loads(item["profile"]) if isinstance(item["profile"], str) else item["profile"],
            item["account_key"],
        )
        for item in found
    }


async def canonical_key(connection: Connection, key: str) -> str:
    """Who a subject is now: a visitor may have turned out to be a known user, who is never somebody else again."""
    found = await fetch_all(connection, _NOW, key=key)
    return str(found[0]["key"]) if found else key


async def account_of(connection: Connection, key: str) -> str | None:
    """The account of a person, read without a lock."""
    found = await fetch_all(connection, _ACCOUNT, key=key)
    return found[0]["account_key"] if found else None


async def clock_names_of(connection: Connection, keys: list[str]) -> dict[str, str | None]:
    """The names of the test clocks that subjects belong to."""
    return {item["key"]: item["clock"] for item in await fetch_all(connection, _CLOCKS, keys=keys)}


async def clock_name_of(connection: Connection, key: str) -> str | None:
    """The name of the test clock a subject belongs to."""
    found = await fetch_all(connection, _ACCOUNT, key=key)
    return found[0]["clock"] if found else None


async def save_subjects(connection: Connection, subjects: Iterable[Subject]) -> None:
    """Write back what changed, in one statement."""
    dirty = [subject for subject in subjects if subject.dirty]
    if dirty:
        await execute(
            connection,
            _SAVE,
            keys=[s.key for s in dirty],
            seqs=[s.seq for s in dirty],
            profiles=[as_json(s.profile) for s in dirty],
            accounts=[s.account_key for s in dirty],
        )


async def with_user_id(connection: Connection, keys: list[str]) -> set[str]:
    """Which of these subjects are known users; two known users are never merged (U2)."""
    return {item["subject_key"] for item in await fetch_all(connection, _NAMED_USERS, keys=keys)}
