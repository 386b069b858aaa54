"""People whom the identities of a public key's events belong to."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import and_, exists, select

from journeys.access.claims import KnownPerson, PersonIdentity
from journeys.consent.statements import ADDRESS_FIELDS
from store.database import Connection, fetch_all, sql
from store.expressions import unnest
from store.schema import identities, subjects

_wanted = unnest("wanted", kinds=identities.c.kind, values=identities.c.value)
_of_user = identities.alias("of_user")
_FIND = sql(
    select(
        identities.c.kind,
        identities.c.value,
        subjects.c.key,
        exists().where(_of_user.c.subject_key == subjects.c.key, _of_user.c.kind == "user_id").label("is_user"),
        *(subjects.c.profile[field].astext.label(channel) for channel, field in ADDRESS_FIELDS.items()),
    )
    .join_from(identities, _wanted, and_(identities.c.kind == _wanted.c.kind, identities.c.value == _wanted.c.value))
    .join(subjects, subjects.c.key == identities.c.subject_key)
)


async def find_people(connection: Connection, named: Iterable[PersonIdentity]) -> dict[PersonIdentity, KnownPerson]:
    """By identity, the person whom it belongs to; without those that no event has named yet."""
    unique = sorted(set(named))
    rows = await fetch_all(connection, _FIND, kinds=[kind for kind, _ in unique], values=[value for _, value in unique])
    return {
        (row["kind"], row["value"]): KnownPerson(
            row["key"], row["is_user"], {channel: row[channel] for channel in ADDRESS_FIELDS if row[channel]}
        )
        for row in rows
    }
