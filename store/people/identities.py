"""Who a call is about: identities found or made, visitors joined with the users they turn out to be (U2).

A batch names people by user id, anonymous id, or both. Whoever is new is created; two known users are never merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from journeys.events.segment import InboundEvent
from store.database import Connection
from store.people import subjects
from store.people.subjects import Identity, Subject

KnownIdentities = dict[Identity, tuple[str, str | None]]
"""By identity, its subject's key and that one's account."""


def identities_of(call: InboundEvent) -> tuple[Identity, ...]:
    """The identities of the person of a call, the surest first; those of the account when there is no person."""
    if call.subject_key is not None:
        return (("key", call.subject_key),)
    if call.user_id is None and call.anonymous_id is None:
        return (("account_id", call.account_id or ""),)
    before = call.previous_id if call.kind == "alias" else call.anonymous_id
    user = (("user_id", call.user_id),) if call.user_id else ()
    visitor = (("anonymous_id", before),) if before else ()
    return (*user, *visitor)


async def identify(connection: Connection, calls: list[InboundEvent], clock: str | None) -> KnownIdentities:
    """Every identity named in the batch with its subject's key and account; who is new is created."""
    groups = [identities_of(call) for call in calls]
    accounts = [("account_id", call.account_id) for call in calls if call.account_id]
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
    new = _disjoint(missing)
    if new:
        created = await subjects.create_subjects(connection, new, clock)
        known |= {identity: (key, None) for identity, key in created.items()}
    return known


def _disjoint(groups: Iterable[tuple[Identity, ...]]) -> list[tuple[Identity, ...]]:
    """Each identity in one group only, whatever the batch says; a later call links them."""
    taken: set[Identity] = set()
    result = []
    for group in sorted(set(groups), key=lambda group: (-len(group), group)):
        free = tuple(identity for identity in group if identity not in taken)
        if free:
            taken.update(free)
            result.append(free)
    return result


def subject_of(call: InboundEvent, known: Mapping[Identity, tuple[str, str | None]]) -> str:
    """The key of the subject a call is about."""
    group = identities_of(call)
    return next(known[identity][0] for identity in group if identity in known)


def is_joined(call: InboundEvent, known: Mapping[Identity, tuple[str, str | None]]) -> bool:
    """Whether everything the call says about who it is, is known already: then it changes nobody's identity."""
    group = identities_of(call)
    return len(group) == 1 or known.get(group[0], ("", None))[0] == known.get(group[1], (" ", None))[0]


async def link_identities(
    connection: Connection,
    call: InboundEvent,
    known: KnownIdentities,
    locked: Mapping[str, Subject],
) -> tuple[Subject, Subject] | None:
    """Name who is called so for the first time. The visitor and the user they turn out to be, if these are to be merged."""
    group = identities_of(call)
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
        known.update({identity: user for identity, found in known.items() if found[0] == visitor[0]})
        return locked[visitor[0]], locked[user[0]]
    return None
