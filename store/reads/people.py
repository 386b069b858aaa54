"""What the API reads of people, accounts and runs. Postgres is the record; nothing here locks or writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson

from store.database import Connection, fetch_all, fetch_one, sql

SubjectKind = Literal["user", "account"]
RowDict = dict[str, Any]

_FIND = sql(
    """
    SELECT s.key, s.kind, s.clock, s.profile, s.account_key, s.created_at, s.updated_at
    FROM (SELECT subject_key AS key, CASE kind WHEN 'anonymous_id' THEN 2 ELSE 1 END AS rank
          FROM identities WHERE kind = ANY(CAST(:kinds AS text[])) AND value = :value
          UNION ALL SELECT coalesce(merged_into, key), 3 FROM subjects WHERE key = :value) AS found
    JOIN subjects s ON s.key = found.key AND s.kind = :kind
    ORDER BY found.rank LIMIT 1
    """
)
_KEYS = sql(
    """
    WITH RECURSIVE same(key) AS (
        SELECT CAST(:key AS text) UNION SELECT s.key FROM subjects s JOIN same ON s.merged_into = same.key
    )
    SELECT key FROM same
    """
)
_IDENTITIES = sql("SELECT kind, value FROM identities WHERE subject_key = :key ORDER BY kind DESC, value LIMIT 100")
_ACCOUNT_OF = sql("SELECT min(value) AS id FROM identities WHERE subject_key = :key AND kind = 'account_id'")
_RUN_COLUMNS = """
    r.id, r.journey, d.version, r.definition, r.subject_key AS subject, nullif(r.case_key, '') AS "case", r.epoch, r.status,
    r.paused, r.state, r.visit, r.outcome, r.started_at, r.entered_at, r.last_at, r.next_due_at, r.ended_at, r.step, r.clock
    FROM runs r LEFT JOIN definitions d ON d.hash = r.definition
"""
_RUN = sql(f"SELECT {_RUN_COLUMNS} WHERE r.id = :id")
_RUNS = sql(
    f"""
    SELECT {_RUN_COLUMNS}
    WHERE r.subject_key = ANY(CAST(:keys AS text[])) AND (CAST(:status AS text) IS NULL OR r.status = :status)
      AND (CAST(:before AS timestamptz) IS NULL OR (r.started_at, r.id) < (:before, CAST(:id AS text)))
    ORDER BY r.started_at DESC, r.id DESC LIMIT :limit
    """
)


@dataclass(frozen=True, slots=True)
class SubjectKeys:
    """A person or an account, and every key that was ever theirs: merges lose no history (U2)."""

    key: str
    kind: str
    clock: str | None
    profile: Mapping[str, Any]
    account_key: str | None
    created_at: datetime
    updated_at: datetime


def loaded(value: Any) -> Any:
    """A jsonb column, whichever way the driver gives it."""
    return orjson.loads(value) if isinstance(value, str | bytes) else value


async def find_subject(connection: Connection, kind: SubjectKind, value: str) -> SubjectKeys | None:
    """A person by user id, anonymous id or key, in this order; an account by its id or key."""
    if "\x00" in value:
        return None
    kinds = ["user_id", "anonymous_id"] if kind == "user" else ["account_id"]
    found = await fetch_one(connection, _FIND, kinds=kinds, kind=kind, value=value)
    return SubjectKeys(**{**found, "profile": loaded(found["profile"])}) if found else None


async def subject_keys(connection: Connection, key: str) -> list[str]:
    """A subject's key and those of the visitors who turned out to be this person."""
    return [item["key"] for item in await fetch_all(connection, _KEYS, key=key)]


async def identities_of_subject(connection: Connection, key: str) -> list[RowDict]:
    """Under which names a subject is known: user ids first, then accounts and visitors."""
    return [dict(item) for item in await fetch_all(connection, _IDENTITIES, key=key)]


async def account_id(connection: Connection, key: str | None) -> str | None:
    """The id by which senders know an account."""
    found = await fetch_one(connection, _ACCOUNT_OF, key=key) if key else None
    return found["id"] if found else None


async def get_run(connection: Connection, identity: str) -> RowDict | None:
    """One run as it was after its last step."""
    found = await fetch_one(connection, _RUN, id=identity) if "\x00" not in identity else None
    return dict(found) if found else None


async def list_runs(
    connection: Connection, keys: list[str], status: str | None, after: tuple[datetime, str] | None, limit: int
) -> list[RowDict]:
    """Runs of a subject, the newest first; `after` is the last row of the page before."""
    before, identity = after or (None, "")
    found = await fetch_all(connection, _RUNS, keys=keys, status=status, before=before, id=identity, limit=limit)
    return [dict(item) for item in found]
