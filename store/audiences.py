"""Audiences as journeys have them, beside what each advertising tool was told last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from store.database import Connection, rows, run, sql

_PENDING = sql(
    """
    SELECT subject_key, coalesce(a.member, false) AND p.key IS NOT NULL AND p.merged_into IS NULL AS member,
      p.profile->>'email' AS email, p.profile->>'stage' AS stage,
      EXISTS (SELECT 1 FROM consents c WHERE c.subject_key = p.key AND NOT c.granted
              AND c.channel IN ('*', 'audience') AND c.topic = '*') AS refused,
      coalesce(s.member, false) AS told, coalesce(s.hashed, '') AS hashed, clock_timestamp() AS at
    FROM (SELECT subject_key, member, changed_at FROM audiences WHERE audience = :audience) a
    FULL JOIN (SELECT subject_key, member, hashed, synced_at FROM audience_syncs
               WHERE destination = :destination AND audience = :audience) s USING (subject_key)
    LEFT JOIN subjects p ON p.key = subject_key
    WHERE (s.synced_at IS NULL AND a.member) OR (s.member AND a.member IS NULL)
       OR a.changed_at > s.synced_at OR p.updated_at > s.synced_at
       OR EXISTS (SELECT 1 FROM consents c WHERE c.subject_key = p.key AND c.at > s.synced_at)
    ORDER BY s.synced_at NULLS FIRST, subject_key LIMIT :limit
    """
)
_STILL = sql(
    """
    SELECT DISTINCT hashed FROM audience_syncs WHERE destination = :destination AND audience = :audience AND member
      AND hashed = ANY(CAST(:hashes AS text[])) AND NOT subject_key = ANY(CAST(:subjects AS text[]))
    """
)
_RECORD = sql(
    """
    INSERT INTO audience_syncs (destination, audience, subject_key, hashed, member, synced_at)
    SELECT :destination, :audience, subject_key, hashed, hashed <> '', :at
    FROM unnest(CAST(:subjects AS text[]), CAST(:hashes AS text[])) AS w(subject_key, hashed)
    ON CONFLICT (destination, audience, subject_key)
    DO UPDATE SET hashed = excluded.hashed, member = excluded.member, synced_at = excluded.synced_at
    """
)


@dataclass(frozen=True, slots=True)
class Place:
    """One person and one audience: what the journey wants (`member`), and what the tool was told (`told`, as `hashed`)."""

    member: bool
    email: str | None
    stage: str | None
    refused: bool
    told: bool
    hashed: str
    at: datetime


async def pending(connection: Connection, destination: str, audience: str, limit: int) -> dict[str, Place]:
    """Those of whom anything has changed since the tool was told, the longest ago first."""
    found = await rows(connection, _PENDING, destination=destination, audience=audience, limit=limit)
    names = Place.__slots__
    return {item["subject_key"]: Place(**{name: item[name] for name in names}) for item in found}


async def still_in(connection: Connection, destination: str, audience: str, out: Mapping[str, str]) -> set[str]:
    """Of these hashes, those that somebody else is in under: two people of one address."""
    found = await rows(
        connection, _STILL, destination=destination, audience=audience, hashes=list(out.values()), subjects=list(out)
    )
    return {item["hashed"] for item in found}


async def record(
    connection: Connection, destination: str, audience: str, hashes: Mapping[str, str], at: datetime
) -> None:
    """What the tool knows as of `at`, by person; an empty hash is out."""
    await run(
        connection,
        _RECORD,
        destination=destination,
        audience=audience,
        subjects=list(hashes),
        hashes=list(hashes.values()),
        at=at,
    )
