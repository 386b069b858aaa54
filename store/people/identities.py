"""Identities of events: found or made, visitors joined with the users they turn out to be (U2).

A batch names people by user id, anonymous id, or both. Whoever is new is created; two known users are never merged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, func, select, update

from journeys.events.inbound import InboundEvent
from store.database import Connection, execute, sql
from store.people import subjects
from store.people.subjects import Identity, Subject
from store.schema import identities
from store.schema import subjects as subjects_table

KnownIdentities = dict[Identity, tuple[str, str | None]]
"""By identity, its subject's key and that one's account."""

_gone = subjects_table.alias("gone")
_MERGED = sql(
    update(subjects_table).where(subjects_table.c.key == bindparam("gone")).values(merged_into=bindparam("into"))
)
_DECIDED = sql(
    update(subjects_table)
    .where(subjects_table.c.key == bindparam("into"))
    .values(
        decided_at=func.greatest(
            subjects_table.c.decided_at,
            select(_gone.c.decided_at).where(_gone.c.key == bindparam("gone")).scalar_subquery(),
        )
    )
)
_MOVE = sql(
    update(identities).where(identities.c.subject_key == bindparam("gone")).values(subject_key=bindparam("into"))
)


def identities_of(event: InboundEvent) -> tuple[Identity, ...]:
    """The identities of the person of an event, the surest first; those of the account when there is no person."""
    if event.subject_key is not None:
        return (("key", event.subject_key),)
    if event.user_id is None and event.anonymous_id is None:
        return (("account_id", event.account_id or ""),)
    before = event.previous_id if event.kind == "alias" else event.anonymous_id
    user = (("user_id", event.user_id),) if event.user_id else ()
    visitor = (("anonymous_id", before),) if before else ()
    return (*user, *visitor)


async def identify(connection: Connection, events: Sequence[InboundEvent], clock: str | None) -> KnownIdentities:
    """Every identity named in the batch with its subject's key and account; who is new is created."""
    groups = [identities_of(event) for event in events]
    accounts = [("account_id", event.account_id) for event in events if event.account_id]
    known = await subjects.find_subjects(connection, [i for group in groups for i in group] + accounts)
    visitors = [known[g[1]][0] for g in groups if len(g) == 2 and g[0] not in known and g[1] in known]
    named = await subjects.with_user_id(connection, visitors) if visitors else set()
    missing: list[tuple[Identity, ...]] = [(account,) for account in accounts if account not in known]
    for group in groups:
        if len(group) == 2 and group[1] in known:
            if group[0] not in known and known[group[1]][0] in named:
                missing.append(group[:1])  # another user's device: a new user, never a merge of two known ones (U2)
        elif group[0] not in known:
            missing.append(group)
    if missing:
        created = await subjects.create_subjects(connection, missing, clock)
        known |= {identity: (key, None) for identity, key in created.items()}
    return known


async def link_identities(
    connection: Connection,
    event: InboundEvent,
    known: KnownIdentities,
    locked: Mapping[str, Subject],
) -> tuple[Subject, Subject] | None:
    """Name who is called so for the first time. The visitor and the user they turn out to be, if these are to be merged."""
    group = identities_of(event)
    if len(group) != 2:
        return None
    user, visitor = known.get(group[0]), known.get(group[1])
    if user is not None and visitor is None:
        await subjects.name_subjects(connection, [(group[1], user[0])])
        known[group[1]] = user
    elif user is None and visitor is not None:
        await subjects.name_subjects(connection, [(group[0], visitor[0])])
        known[group[0]] = visitor
    elif user and visitor and user[0] != visitor[0] and not await subjects.with_user_id(connection, [visitor[0]]):
        known.update({identity: user for identity, whose in known.items() if whose[0] == visitor[0]})
        return locked[visitor[0]], locked[user[0]]
    return None


async def move_to(connection: Connection, gone: str, into: str) -> None:
    """A visitor is the user from now on: their identities, and how far their timers are decided."""
    for statement in (_MERGED, _DECIDED, _MOVE):
        await execute(connection, statement, gone=gone, into=into)
