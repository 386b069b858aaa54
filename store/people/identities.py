"""Identities of events: found, created, and joined when a visitor is recognised (U2).

A batch names people by user id, anonymous id, or both. Missing subjects are created; two known users are never merged.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from journeys.events.ids.identities import link_of
from journeys.events.inbound import InboundEvent
from store.database import Connection, execute, fetch_all, sql
from store.errors import Contended
from store.expressions import any_of, unnest
from store.people.subjects import Subject, account_in
from store.schema import identities, lanes, subjects

Identity = tuple[str, str]
"""(kind, value): kind is `user_id`, `anonymous_id` or `account_id`."""


class KnownSubject(NamedTuple):
    """The key of a subject, its account and its test clock; `is_leaving` if retention may delete it unless it is locked."""

    key: str
    account_key: str | None
    clock: str | None
    is_leaving: bool = False


KnownIdentities = dict[Identity, KnownSubject]

_wanted = unnest("wanted", kinds=identities.c.kind, values=identities.c.value)
_of_subject = (
    subjects.c.key.label("subject_key"),
    subjects.c.account_key,
    subjects.c.clock,
    subjects.c.leaving_since.is_not(None).label("is_leaving"),
)
_FIND = sql(
    select(identities.c.kind, identities.c.value, *_of_subject)
    .join_from(identities, _wanted, and_(identities.c.kind == _wanted.c.kind, identities.c.value == _wanted.c.value))
    .join(subjects, subjects.c.key == identities.c.subject_key)
)
_BY_KEY = sql(select(*_of_subject).where(any_of(subjects.c.key, "keys")))
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
    """Every identity in the batch with its subject; missing subjects are created.

    Who is new belongs to the test clock of whom the same event names, else to `clock`.
    """
    groups = [identities_of(event) for event in events]
    accounts = [_account_of(event) for event in events]
    known = await find_subjects(connection, [i for group in (*groups, *accounts) for i in group])
    visitors = [known[g[1]].key for g in groups if len(g) == 2 and g[0] not in known and g[1] in known]
    named = await with_user_id(connection, visitors) if visitors else set()
    missing: dict[tuple[Identity, ...], str | None] = {}
    for group, account in zip(groups, accounts, strict=True):
        belongs_to = next((known[i].clock for i in (*group, *account) if i in known), clock)
        for new in _new_subjects(group, account, known, named):
            missing[new] = missing.get(new) or belongs_to
    if missing:
        known |= await create_subjects(connection, missing)
    return known


def _account_of(event: InboundEvent) -> tuple[Identity, ...]:
    return (("account_id", event.account_id),) if event.account_id else ()


def _new_subjects(
    group: tuple[Identity, ...], account: tuple[Identity, ...], known: KnownIdentities, named: set[str]
) -> Iterator[tuple[Identity, ...]]:
    """The identities of each subject that an event names first; `named` are the visitors who are known users."""
    if account and account[0] not in known:
        yield account
    if len(group) == 2 and group[1] in known:
        if group[0] not in known and known[group[1]].key in named:
            yield group[:1]  # another user's device: a new user, never a merge of two known ones (U2)
    elif group[0] not in known:
        yield group


def new_key(kind: str) -> str:
    """A random key, so that ids have nothing personal."""
    return ("u_" if kind == "user" else "a_") + secrets.token_hex(8)


async def find_subjects(connection: Connection, named: Iterable[Identity]) -> KnownIdentities:
    """The subject of each identity that has a subject."""
    unique = sorted(set(named))
    rows = await fetch_all(connection, _FIND, kinds=[kind for kind, _ in unique], values=[value for _, value in unique])
    known = {(row["kind"], row["value"]): _known_subject(row) for row in rows}
    keys = [value for kind, value in unique if kind == "key"]
    for row in await fetch_all(connection, _BY_KEY, keys=keys) if keys else ():
        known["key", row["subject_key"]] = _known_subject(row)
    return known


def _known_subject(row: Mapping[str, Any]) -> KnownSubject:
    return KnownSubject(row["subject_key"], row["account_key"], row["clock"], row["is_leaving"])


async def create_subjects(connection: Connection, groups: Mapping[tuple[Identity, ...], str | None]) -> KnownIdentities:
    """Create one subject for each group of identities, on its clock. Raises Contended if one exists meanwhile.

    Of groups that share an identity the larger one gets it; a later event links the others.
    """
    created: KnownIdentities = {}
    for group in sorted(groups, key=lambda group: (-len(group), group)):
        free = [identity for identity in group if identity not in created]
        if free:
            key = new_key("account" if free[0][0] == "account_id" else "user")
            created |= dict.fromkeys(free, KnownSubject(key, None, groups[group]))
    subjects_made = list(dict.fromkeys(created.values()))
    keys = [subject.key for subject in subjects_made]
    kinds = ["account" if account_in(key) else "user" for key in keys]
    await execute(connection, _CREATE, keys=keys, kinds=kinds, clocks=[subject.clock for subject in subjects_made])
    await name_subjects(connection, [(identity, created[identity].key) for identity in sorted(created)])
    await execute(connection, _OPEN_LANES, keys=sorted(keys))
    return created


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
    is_user = visitor is not None and visitor != user and bool(await with_user_id(connection, [visitor.key]))
    match link_of(user, visitor, visitor_is_user=is_user):
        case "name_visitor":
            assert user is not None
            await name_subjects(connection, [(group[1], user.key)])
            known[group[1]] = user
        case "name_user":
            assert visitor is not None
            await name_subjects(connection, [(group[0], visitor.key)])
            known[group[0]] = visitor
        case "merge":
            assert user is not None
            assert visitor is not None
            known.update({identity: user for identity, subject in known.items() if subject.key == visitor.key})
            return locked[visitor.key], locked[user.key]
        case "create" | "new_user" | "none":
            pass  # who is new was created before (`identify`)
    return None


async def move_to(connection: Connection, gone: str, into: str) -> None:
    """Record that a visitor is the user: move their identities, and how far their timers are decided."""
    for statement in (_MERGED, _DECIDED, _MOVE):
        await execute(connection, statement, gone=gone, into=into)
