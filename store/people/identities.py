"""Identities of events: found, created, and joined when a visitor is recognised (U2).

A batch names people by user id, anonymous id, or both. Missing subjects are created; two known users are never merged.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import and_, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from journeys.events.inbound import InboundEvent
from store.database import Connection, execute, fetch_all, sql
from store.errors import Contended
from store.expressions import any_of, unnest
from store.people.subjects import Subject
from store.schema import identities, lanes, subjects

Identity = tuple[str, str]
"""(kind, value): kind is `user_id`, `anonymous_id` or `account_id`."""

KnownIdentities = dict[Identity, tuple[str, str | None]]
"""By identity, the key of its subject and of that subject's account."""

_wanted = unnest("wanted", kinds=identities.c.kind, values=identities.c.value)
_FIND = sql(
    select(identities.c.kind, identities.c.value, identities.c.subject_key, subjects.c.account_key)
    .join_from(identities, _wanted, and_(identities.c.kind == _wanted.c.kind, identities.c.value == _wanted.c.value))
    .join(subjects, subjects.c.key == identities.c.subject_key)
)
_BY_KEY = sql(select(subjects.c.key, subjects.c.account_key).where(any_of(subjects.c.key, "keys")))
_CREATE = sql(
    insert(subjects).from_select(
        ["key", "kind", "clock"],
        select(unnest("given", keys=subjects.c.key, kinds=subjects.c.kind, clocks=subjects.c.clock)),
    )
)
_NAME = sql(
    insert(identities)
    .from_select(
        ["kind", "value", "subject_key"],
        select(unnest("given", kinds=identities.c.kind, values=identities.c.value, keys=identities.c.subject_key)),
    )
    .on_conflict_do_nothing(index_elements=[identities.c.kind, identities.c.value])
    .returning(identities.c.kind, identities.c.value)
)
_OPEN_LANES = sql(
    insert(lanes).from_select(["recipient"], select(unnest("given", keys=lanes.c.recipient))).on_conflict_do_nothing()
)
_WITH_USER_ID = sql(
    select(identities.c.subject_key)
    .distinct()
    .where(any_of(identities.c.subject_key, "keys"), identities.c.kind == "user_id")
)
_gone = subjects.alias("gone")
_MERGED = sql(update(subjects).where(subjects.c.key == bindparam("gone")).values(merged_into=bindparam("into")))
_DECIDED = sql(
    update(subjects)
    .where(subjects.c.key == bindparam("into"))
    .values(
        decided_at=func.greatest(
            subjects.c.decided_at,
            select(_gone.c.decided_at).where(_gone.c.key == bindparam("gone")).scalar_subquery(),
        )
    )
)
_MOVE = sql(
    update(identities).where(identities.c.subject_key == bindparam("gone")).values(subject_key=bindparam("into"))
)


def identities_of(event: InboundEvent) -> tuple[Identity, ...]:
    """The identities of an event's person, the most reliable first; those of the account if there is no person."""
    if event.subject_key is not None:
        return (("key", event.subject_key),)
    if event.user_id is None and event.anonymous_id is None:
        return (("account_id", event.account_id or ""),)
    before = event.previous_id if event.kind == "alias" else event.anonymous_id
    user = (("user_id", event.user_id),) if event.user_id else ()
    visitor = (("anonymous_id", before),) if before else ()
    return (*user, *visitor)


async def identify(connection: Connection, events: Sequence[InboundEvent], clock: str | None) -> KnownIdentities:
    """Every identity in the batch with its subject's key and account; missing subjects are created."""
    groups = [identities_of(event) for event in events]
    accounts = [("account_id", event.account_id) for event in events if event.account_id]
    known = await find_subjects(connection, [i for group in groups for i in group] + accounts)
    visitors = [known[g[1]][0] for g in groups if len(g) == 2 and g[0] not in known and g[1] in known]
    named = await with_user_id(connection, visitors) if visitors else set()
    missing: list[tuple[Identity, ...]] = [(account,) for account in accounts if account not in known]
    for group in groups:
        if len(group) == 2 and group[1] in known:
            if group[0] not in known and known[group[1]][0] in named:
                missing.append(group[:1])  # another user's device: a new user, never a merge of two known ones (U2)
        elif group[0] not in known:
            missing.append(group)
    if missing:
        created = await create_subjects(connection, missing, clock)
        known |= {identity: (key, None) for identity, key in created.items()}
    return known


def new_key(kind: str) -> str:
    """A random key, so that ids have nothing personal."""
    return ("u_" if kind == "user" else "a_") + secrets.token_hex(8)


async def find_subjects(connection: Connection, named: Iterable[Identity]) -> dict[Identity, tuple[str, str | None]]:
    """The subject key and account key of each identity that has a subject."""
    unique = sorted(set(named))
    rows = await fetch_all(connection, _FIND, kinds=[kind for kind, _ in unique], values=[value for _, value in unique])
    known = {(row["kind"], row["value"]): (row["subject_key"], row["account_key"]) for row in rows}
    keys = [value for kind, value in unique if kind == "key"]
    for row in await fetch_all(connection, _BY_KEY, keys=keys) if keys else ():
        known["key", row["key"]] = (row["key"], row["account_key"])
    return known


async def create_subjects(
    connection: Connection, groups: Iterable[tuple[Identity, ...]], clock: str | None
) -> dict[Identity, str]:
    """Create one subject for each group of identities. Raises Contended if one exists meanwhile.

    Of groups that share an identity the larger one gets it; a later event links the others.
    """
    keys: dict[Identity, str] = {}
    kinds: dict[str, str] = {}
    for group in sorted(set(groups), key=lambda group: (-len(group), group)):
        free = [identity for identity in group if identity not in keys]
        if free:
            kind = "account" if free[0][0] == "account_id" else "user"
            key = new_key(kind)
            kinds[key] = kind
            keys |= dict.fromkeys(free, key)
    await execute(connection, _CREATE, keys=list(kinds), kinds=list(kinds.values()), clocks=[clock] * len(kinds))
    await name_subjects(connection, [(identity, keys[identity]) for identity in sorted(keys)])
    await execute(connection, _OPEN_LANES, keys=sorted(kinds))
    return keys


async def name_subjects(connection: Connection, named: list[tuple[Identity, str]]) -> None:
    """Attach identities to subjects, in order. Raises Contended if one is attached meanwhile."""
    attached = await fetch_all(
        connection,
        _NAME,
        kinds=[identity[0] for identity, _ in named],
        values=[identity[1] for identity, _ in named],
        keys=[key for _, key in named],
    )
    if len(attached) != len(named):
        raise Contended


async def with_user_id(connection: Connection, keys: list[str]) -> set[str]:
    """Those of these subjects that are known users; two known users are never merged (U2)."""
    return {row["subject_key"] for row in await fetch_all(connection, _WITH_USER_ID, keys=keys)}


async def link_identities(
    connection: Connection,
    event: InboundEvent,
    known: KnownIdentities,
    locked: Mapping[str, Subject],
) -> tuple[Subject, Subject] | None:
    """Attach identities that are new. Returns the visitor and the user to merge, if the visitor turns out to be one."""
    group = identities_of(event)
    if len(group) != 2:
        return None
    user, visitor = known.get(group[0]), known.get(group[1])
    if user is not None and visitor is None:
        await name_subjects(connection, [(group[1], user[0])])
        known[group[1]] = user
    elif user is None and visitor is not None:
        await name_subjects(connection, [(group[0], visitor[0])])
        known[group[0]] = visitor
    elif user and visitor and user[0] != visitor[0] and not await with_user_id(connection, [visitor[0]]):
        known.update({identity: user for identity, subject in known.items() if subject[0] == visitor[0]})
        return locked[visitor[0]], locked[user[0]]
    return None


async def move_to(connection: Connection, gone: str, into: str) -> None:
    """Record that a visitor is the user: move their identities, and how far their timers are decided."""
    for statement in (_MERGED, _DECIDED, _MOVE):
        await execute(connection, statement, gone=gone, into=into)
