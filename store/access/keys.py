"""API keys: make, list, rotate with an overlap, revoke. Only digests are stored."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Boolean, Interval, Text, bindparam, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from journeys.access.callers import ApiKey, CallerKind, Scope
from store.database import Connection, fetch_all, fetch_one, sql
from store.locks import Lock, lock_until_commit
from store.rows import RowDict
from store.schema import api_keys
from store.schema.base import Timestamp

MOST_KEYS: Final = 1_000
"""Keys in force: every process has all of them in memory."""
PREFIXES: Final[Mapping[CallerKind, str]] = {
    CallerKind.PUBLIC: "tenure_pk_",
    CallerKind.SECRET: "tenure_sk_",
    CallerKind.OPERATOR: "tenure_ok_",
}
"""First characters of a key by its kind, for people and for scanners of published code."""
_SECRET_BYTES: Final = 30

_shown = (
    api_keys.c.id,
    api_keys.c.name,
    api_keys.c.kind,
    api_keys.c.scopes,
    api_keys.c.source,
    api_keys.c.generation,
    api_keys.c.previous_until,
    api_keys.c.made_at,
    api_keys.c.made_by,
    api_keys.c.rotated_at,
    api_keys.c.rotated_by,
    api_keys.c.revoked_at,
    api_keys.c.revoked_by,
)
_in_force = api_keys.c.revoked_at.is_(None)
_of_id = api_keys.c.id == bindparam("id")
_COUNT = sql(select(func.count().label("number")).select_from(api_keys).where(_in_force))
_public = api_keys.c.kind == CallerKind.PUBLIC.value
_SOURCE_TAKEN = sql(
    select(api_keys.c.id)
    .where(_in_force, api_keys.c.source == bindparam("source"), _public != bindparam("public", type_=Boolean))
    .limit(1)
)
_MAKE = sql(
    insert(api_keys)
    .values(
        id=bindparam("id"),
        name=bindparam("name"),
        kind=bindparam("kind"),
        scopes=bindparam("scopes"),
        source=bindparam("source"),
        digest=bindparam("digest"),
        made_at=func.clock_timestamp(),
        made_by=bindparam("by"),
    )
    .on_conflict_do_nothing(index_elements=[api_keys.c.name], index_where=_in_force)
    .returning(*_shown)
)
_ROTATE = sql(
    update(api_keys)
    .where(_of_id, _in_force)
    .values(
        digest=bindparam("digest"),
        generation=api_keys.c.generation + 1,
        previous_digest=api_keys.c.digest,
        previous_until=func.clock_timestamp() + bindparam("overlap", type_=Interval),
        rotated_at=func.clock_timestamp(),
        rotated_by=bindparam("by"),
    )
    .returning(*_shown)
)
_REVOKE = sql(
    update(api_keys)
    .where(_of_id)
    .values(
        revoked_at=func.coalesce(api_keys.c.revoked_at, func.clock_timestamp()),
        revoked_by=func.coalesce(api_keys.c.revoked_by, bindparam("by", type_=Text)),
    )
    .returning(*_shown)
)
_before = bindparam("before", type_=Timestamp)
_LIST = sql(
    select(*_shown)
    .where(
        or_(
            _before.is_(None),
            tuple_(api_keys.c.made_at, api_keys.c.id) < tuple_(_before, bindparam("id", type_=Text)),
        )
    )
    .order_by(api_keys.c.made_at.desc(), api_keys.c.id.desc())
    .limit(bindparam("limit"))
)
_GET = sql(select(*_shown).where(_of_id))
_IN_FORCE = sql(
    select(
        *_shown,
        api_keys.c.digest,
        api_keys.c.previous_digest,
        (api_keys.c.previous_until > func.clock_timestamp()).label("overlaps"),
    ).where(_in_force)
)


class NameTaken(Exception):
    """Another key in force has this name. The caller's turn: choose another, or revoke that one."""


class SourceTaken(Exception):
    """A public key and a key of another kind would share a source. The caller's turn: choose another.

    Strangers have the public one, and could use up the message ids of the other's events before these are sent.
    """


class TooManyKeys(Exception):
    """There are `MOST_KEYS` keys in force. The caller's turn: revoke keys that nobody uses."""


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key just made or rotated. `secret` is the key itself, which is not stored: it is shown this once."""

    row: RowDict
    secret: str


async def make_key(
    connection: Connection, *, name: str, kind: CallerKind, scopes: frozenset[Scope], source: str, by: str
) -> IssuedKey:
    """Make a key, one at a time until the commit. Raises NameTaken, SourceTaken, TooManyKeys."""
    await lock_until_commit(connection, Lock.KEYS)  # two made at once would not see each other's source, nor be counted
    count = await fetch_one(connection, _COUNT)
    if count is not None and count["number"] >= MOST_KEYS:
        raise TooManyKeys
    is_public = kind is CallerKind.PUBLIC
    if await fetch_one(connection, _SOURCE_TAKEN, source=source, public=is_public) is not None:
        raise SourceTaken
    secret = _new_secret(kind)
    row = await fetch_one(
        connection,
        _MAKE,
        id=f"k_{secrets.token_hex(8)}",
        name=name,
        kind=kind.value,
        scopes=sorted(scope.value for scope in scopes),
        source=source,
        digest=key_digest(secret),
        by=by,
    )
    if row is None:
        raise NameTaken
    return IssuedKey(dict(row), secret)


async def rotate_key(connection: Connection, identity: str, *, overlap: timedelta, by: str) -> IssuedKey | None:
    """Replace a key; the old one is valid for `overlap` longer, and the one before it no more. None if it is not in force."""
    before = await get_key(connection, identity)
    if before is None:
        return None
    secret = _new_secret(CallerKind(before["kind"]))
    row = await fetch_one(connection, _ROTATE, id=identity, digest=key_digest(secret), overlap=overlap, by=by)
    return IssuedKey(dict(row), secret) if row is not None else None


async def revoke_key(connection: Connection, identity: str, *, by: str) -> RowDict | None:
    """End a key, with its previous one. Revoked twice, the first time counts. None if there is none."""
    row = await fetch_one(connection, _REVOKE, id=identity, by=by)
    return dict(row) if row is not None else None


async def get_key(connection: Connection, identity: str) -> RowDict | None:
    """A key without its secret, in force or revoked."""
    row = await fetch_one(connection, _GET, id=identity)
    return dict(row) if row is not None else None


async def list_keys(connection: Connection, after: tuple[datetime, str] | None, limit: int) -> list[RowDict]:
    """Keys, the newest first, revoked ones too; `after` is the last of the page before."""
    before, identity = after or (None, "")
    return [dict(row) for row in await fetch_all(connection, _LIST, before=before, id=identity, limit=limit)]


async def keys_in_force(connection: Connection) -> dict[bytes, ApiKey]:
    """Every valid key by the digest of its secret; in an overlap a key has two."""
    keys: dict[bytes, ApiKey] = {}
    for row in await fetch_all(connection, _IN_FORCE):
        key = key_in_row(row, overlaps=bool(row["overlaps"]))
        keys[row["digest"]] = key
        if row["overlaps"]:
            keys[row["previous_digest"]] = key
    return keys


def key_in_row(row: Mapping[str, Any], *, overlaps: bool) -> ApiKey:
    """The key of a row."""
    generation = row["generation"]
    generations = (generation, generation - 1) if overlaps else (generation,)
    scopes = frozenset(Scope(scope) for scope in row["scopes"])
    return ApiKey(row["id"], row["name"], CallerKind(row["kind"]), scopes, row["source"], generations)


def key_digest(secret: str) -> bytes:
    """The digest under which a key is stored and found."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def _new_secret(kind: CallerKind) -> str:
    return PREFIXES[kind] + secrets.token_urlsafe(_SECRET_BYTES)
