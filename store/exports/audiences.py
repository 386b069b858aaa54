"""Memberships of audiences as journeys set them, and as each advertising tool has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import Text, bindparam, func, not_, or_, select
from sqlalchemy.dialects.postgresql import insert

from journeys.decision.effects import ChangedAudience
from journeys.gate.policy import ADS
from journeys.gate.verdicts import Consents
from journeys.tokens.address_hash import AddressHash
from store.database import Connection, execute, fetch_all, sql
from store.expressions import any_of
from store.rows import loaded
from store.schema import audience_syncs, audiences, suppressions

CHANNEL = "email"
"""The channel whose address identifies people in the tools; a suppressed address is not exported."""

# People who may not be added now are skipped while they are out, so that they do not delay removals. Changes that follow
# from consent, a suppression or an erasure come first.
_PENDING = sql(
    """
    SELECT subject_key, coalesce(a.member, false) AND p.key IS NOT NULL AND p.merged_into IS NULL AS member,
      p.profile->>'email' AS email, p.profile->>'stage' AS stage,
      (SELECT json_agg(json_build_array(c.channel, c.topic, c.granted)) FROM consents c
       WHERE c.subject_key = p.key AND c.in_force) AS consents,
      coalesce(s.member, false) AS in_tool, coalesce(s.hashed, '') AS hashed, clock_timestamp() AS at, stopped
    FROM (SELECT subject_key, member, changed_at, journey FROM audiences WHERE audience = :audience) a
    FULL JOIN (SELECT subject_key, member, hashed, digests, synced_at FROM audience_syncs
               WHERE destination = :destination AND audience = :audience) s USING (subject_key)
    LEFT JOIN subjects p ON p.key = subject_key
    CROSS JOIN LATERAL (SELECT EXISTS (SELECT 1 FROM stops x WHERE x.released_at IS NULL AND
        (x.scope = 'all' OR (x.scope, x.name) IN (('channel', :ads), ('journey', a.journey))))) AS held(stopped)
    CROSS JOIN LATERAL (SELECT coalesce(s.member AND p.key IS NULL, false)
       OR EXISTS (SELECT 1 FROM consents c WHERE c.subject_key = p.key AND c.at > s.synced_at)
       OR EXISTS (SELECT 1 FROM consent_log l WHERE l.subject_key = p.key AND l.recorded_at > s.synced_at)
       OR EXISTS (SELECT 1 FROM suppressions x WHERE x.digest = ANY(s.digests)
                  AND (x.lifted_at IS NULL AND (x.ends_at IS NULL OR x.ends_at > now()) AND s.member OR greatest(x.at, x.lifted_at) > s.synced_at))) AS urgent(is_urgent)
    WHERE (s.member OR NOT stopped)
      AND (is_urgent OR (s.synced_at IS NULL AND a.member) OR (s.member AND (a.member IS NULL OR s.digests = '{}'))
           OR a.changed_at > s.synced_at OR p.updated_at > s.synced_at)
    ORDER BY coalesce(s.member AND is_urgent, false) DESC, s.synced_at NULLS FIRST, subject_key LIMIT :limit
    """
)
_STILL_IN = sql(
    select(audience_syncs.c.hashed)
    .distinct()
    .where(
        audience_syncs.c.destination == bindparam("destination"),
        audience_syncs.c.audience == bindparam("audience"),
        audience_syncs.c.member,
        any_of(audience_syncs.c.hashed, "hashes"),
        not_(any_of(audience_syncs.c.subject_key, "subjects")),
    )
)
_SUPPRESSED = sql(
    select(suppressions.c.digest).where(
        any_of(suppressions.c.digest, "digests"),
        suppressions.c.lifted_at.is_(None),
        or_(suppressions.c.ends_at.is_(None), suppressions.c.ends_at > func.now()),
    )
)
_changed = insert(audiences).values(
    audience=bindparam("audience"),
    subject_key=bindparam("subject"),
    changed_at=bindparam("at"),
    member=bindparam("member"),
    journey=bindparam("journey"),
)
_CHANGE = sql(
    _changed.on_conflict_do_update(
        index_elements=[audiences.c.audience, audiences.c.subject_key],
        set_={
            "member": _changed.excluded.member,
            "changed_at": _changed.excluded.changed_at,
            "journey": _changed.excluded.journey,
        },
    )
)
# An array of arrays needs equal lengths, so each person's digests are a JSON array.
_RECORD = sql(
    """
    INSERT INTO audience_syncs (destination, audience, subject_key, hashed, member, synced_at, digests)
    SELECT :destination, :audience, subject_key, hashed, hashed <> '', :at,
      ARRAY(SELECT jsonb_array_elements_text(digests))
    FROM unnest(CAST(:subjects AS text[]), CAST(:hashes AS text[]), CAST(:digests AS jsonb[]))
      AS w(subject_key, hashed, digests)
    ON CONFLICT (destination, audience, subject_key) DO UPDATE
    SET hashed = excluded.hashed, member = excluded.member, synced_at = excluded.synced_at, digests = excluded.digests
    """
)
_moved = insert(audiences).from_select(
    ["audience", "subject_key", "changed_at", "member", "journey"],
    select(
        audiences.c.audience,
        bindparam("into", type_=Text),
        audiences.c.changed_at,
        audiences.c.member,
        audiences.c.journey,
    ).where(audiences.c.subject_key == bindparam("gone")),
)
_MOVE = sql(
    _moved.on_conflict_do_update(
        index_elements=[audiences.c.audience, audiences.c.subject_key],
        set_={
            "member": _moved.excluded.member,
            "changed_at": _moved.excluded.changed_at,
            "journey": _moved.excluded.journey,
        },
        where=_moved.excluded.changed_at > audiences.c.changed_at,
    )
)


@dataclass(frozen=True, slots=True)
class AudienceMembership:
    """One person and one audience: what the journey wants (`member`), and what the tool has (`in_tool`, as `hashed`).

    `digests` are the hashes under which the address may be suppressed. `stopped`: nobody may be added now, because of a
    kill switch on everything, on ads, or on the journey that added the person.
    """

    member: bool
    email: str | None
    stage: str | None
    consents: Consents
    suppressed: bool
    in_tool: bool
    hashed: str
    at: datetime
    digests: tuple[str, ...] = ()
    stopped: bool = False


async def change_audience(connection: Connection, person: str, journey: str, effect: ChangedAudience) -> None:
    """Set a membership as of the effect's instant, and the journey that set it."""
    await execute(
        connection,
        _CHANGE,
        audience=effect.audience,
        subject=person,
        at=effect.at,
        member=effect.change == "add",
        journey=journey,
    )


async def pending_memberships(
    connection: Connection, addresses: AddressHash, destination: str, audience: str, limit: int
) -> dict[str, AudienceMembership]:
    """Memberships with changes that the tool does not have: consent changes first, then the longest waiting."""
    rows = await fetch_all(connection, _PENDING, destination=destination, audience=audience, limit=limit, ads=ADS)
    digests = {row["subject_key"]: tuple(_digests(addresses, row["email"])) for row in rows}
    all_digests = [digest for of_person in digests.values() for digest in of_person]
    suppressed = await _suppressed(connection, all_digests)
    return {
        (key := row["subject_key"]): AudienceMembership(
            row["member"],
            row["email"],
            row["stage"],
            {(channel, topic): granted for channel, topic, granted in loaded(row["consents"]) or ()},
            not suppressed.isdisjoint(digests[key]),
            row["in_tool"],
            row["hashed"],
            row["at"],
            digests[key],
            row["stopped"],
        )
        for row in rows
    }


async def _suppressed(connection: Connection, digests: list[str]) -> set[str]:
    if not digests:
        return set()
    return {row["digest"] for row in await fetch_all(connection, _SUPPRESSED, digests=digests)}


def _digests(addresses: AddressHash, email: str | None) -> list[str]:
    return addresses.digests(CHANNEL, email) if isinstance(email, str) and email else []


async def members_still_in(connection: Connection, destination: str, audience: str, out: Mapping[str, str]) -> set[str]:
    """Of these hashes, those under which somebody else is still in: two people with one address."""
    rows = await fetch_all(
        connection, _STILL_IN, destination=destination, audience=audience, hashes=list(out.values()), subjects=list(out)
    )
    return {row["hashed"] for row in rows}


async def record_synced(
    connection: Connection,
    destination: str,
    audience: str,
    hashes: Mapping[str, str],
    digests: Mapping[str, tuple[str, ...]],
    at: datetime,
) -> None:
    """Record what the tool has as of `at`, by person; an empty hash is out."""
    await execute(
        connection,
        _RECORD,
        destination=destination,
        audience=audience,
        subjects=list(hashes),
        hashes=list(hashes.values()),
        digests=[orjson.dumps(digests.get(subject, ())).decode() for subject in hashes],
        at=at,
    )


async def move_to(connection: Connection, gone: str, into: str) -> None:
    """Move a visitor's memberships to the user; the later change counts."""
    await execute(connection, _MOVE, gone=gone, into=into)
