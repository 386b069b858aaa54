"""Accepting is committing: event, profile change, entry decisions and outbox rows in one transaction (design §5).

Only events that can change a next action cost more than their place in one batched insert: the index says which. For
those the subjects are locked in key order, which makes the rest of this file sequential per person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from journeys.incoming import Incoming, accepted_at
from store import outbox, subjects, tickets
from store.admission import Admission
from store.catalogue import Catalogue
from store.clocks import read_clock
from store.database import Connection, Database, as_json, rows, sql
from store.subjects import Contended, Identity, Subject

ATTEMPTS = 5

_INSERT = sql(
    """
    INSERT INTO events (source, message_id, kind, name, subject_key, at, received_at, data, context)
    SELECT :source, message_id, kind, name, subject_key, at, :received, data, context
    FROM unnest(CAST(:ids AS text[]), CAST(:kinds AS text[]), CAST(:names AS text[]), CAST(:keys AS text[]),
                CAST(:ats AS timestamptz[]), CAST(:datas AS jsonb[]), CAST(:contexts AS jsonb[]))
      AS w(message_id, kind, name, subject_key, at, data, context)
    ON CONFLICT (source, message_id) DO NOTHING RETURNING message_id
    """
)
_QUARANTINE = sql(
    """
    INSERT INTO quarantine (source, message_id, name, faults, event, received_at)
    SELECT :source, message_id, name, faults, event, :received
    FROM unnest(CAST(:ids AS text[]), CAST(:names AS text[]), CAST(:faults AS jsonb[]), CAST(:events AS jsonb[]))
      AS w(message_id, name, faults, event)
    ON CONFLICT (source, message_id) DO NOTHING RETURNING message_id
    """
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a batch: every call is in exactly one of the three."""

    accepted: int = 0
    duplicates: int = 0
    quarantined: int = 0


async def accept(
    database: Database, catalogue: Catalogue, calls: list[Incoming], *, source: str, clock: str | None = None
) -> Accepted:
    """Commit a batch. Raises only what the database raises; then nothing of it was accepted."""
    for attempt in range(ATTEMPTS):
        try:
            async with database.transaction() as connection:
                return await _accept(connection, catalogue, calls, source, clock)
        except Contended:
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


async def accept_within(
    connection: Connection, catalogue: Catalogue, calls: list[Incoming], *, source: str
) -> Accepted:
    """Accept in the caller's own transaction, which has locked those concerned. Raises Contended: then all of it again."""
    return await _accept(connection, catalogue, calls, source, None)


async def _accept(
    connection: Connection, catalogue: Catalogue, calls: list[Incoming], source: str, clock: str | None
) -> Accepted:
    received = datetime.now(UTC)
    await catalogue.current(connection)
    held = [call for call in calls if call.faults]
    quarantined = await _hold(connection, held, source, received) if held else 0
    whole = [call for call in calls if not call.faults]
    if not whole:
        return Accepted(0, len(held) - quarantined, quarantined)
    known = await _identify(connection, whole, clock)
    locked = await subjects.lock(connection, _to_lock(catalogue, whole, known))
    if any(subject.account_key and subject.account_key not in locked for subject in locked.values()):
        raise Contended  # someone moved to another account between our look and our lock
    fresh = await _insert(connection, whole, known, locked, source, received)
    if fresh:
        await _apply(connection, catalogue, fresh, known, locked)
    duplicates = len(calls) - len(fresh) - quarantined
    return Accepted(len(fresh), duplicates, quarantined)


# -- who ---------------------------------------------------------------------------------------------------------------


def identities_of(call: Incoming) -> tuple[Identity, ...]:
    """The identities of the person of a call, the surest first; those of the account when there is no person."""
    if call.subject_key is not None:
        return (("key", call.subject_key),)
    if call.user_id is None and call.anonymous_id is None:
        return (("account_id", call.account_id or ""),)
    before = call.previous_id if call.kind == "alias" else call.anonymous_id
    user = (("user_id", call.user_id),) if call.user_id else ()
    visitor = (("anonymous_id", before),) if before else ()
    return (*user, *visitor)


async def _identify(
    connection: Connection, calls: list[Incoming], clock: str | None
) -> dict[Identity, tuple[str, str | None]]:
    """Every identity named in the batch with its subject's key and account; who is new is created."""
    groups = [identities_of(call) for call in calls]
    accounts = [("account_id", call.account_id) for call in calls if call.account_id]
    known = await subjects.find(connection, [i for group in groups for i in group] + accounts)
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
        created = await subjects.create(connection, new, clock)
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


def subject_of(call: Incoming, known: Mapping[Identity, tuple[str, str | None]]) -> str:
    """The key of the subject a call is about."""
    group = identities_of(call)
    return next(known[identity][0] for identity in group if identity in known)


def _to_lock(catalogue: Catalogue, calls: list[Incoming], known: Mapping[Identity, tuple[str, str | None]]) -> set[str]:
    keys: set[str] = set()
    for call in calls:
        linking = len(identities_of(call)) == 2 or call.kind in {"identify", "group", "alias"}
        if not linking and not catalogue.matters(call.name):
            continue
        for identity in identities_of(call):
            if identity in known:
                keys.update(key for key in known[identity] if key)
        if call.account_id:
            keys.add(known["account_id", call.account_id][0])
    return keys


# -- what --------------------------------------------------------------------------------------------------------------


async def _insert(
    connection: Connection,
    calls: list[Incoming],
    known: Mapping[Identity, tuple[str, str | None]],
    locked: Mapping[str, Subject],
    source: str,
    received: datetime,
) -> list[tuple[Incoming, datetime]]:
    """Store the batch in one statement; the calls that were not there before, each with its instant."""
    clocks = {
        name: clock.virtual(received)
        for name in sorted({s.clock for s in locked.values() if s.clock})
        if (clock := await read_clock(connection, name)) is not None
    }
    once: dict[str, tuple[Incoming, datetime, str]] = {}
    for call in calls:
        key = subject_of(call, known)
        subject = locked.get(key)
        virtual = clocks.get(subject.clock) if subject is not None and subject.clock else None
        floor = subject.decided_at if subject is not None else None
        at = accepted_at(call, virtual or received, virtual=virtual is not None, floor=floor)
        once.setdefault(call.message_id, (call, at, key))
    stored = await rows(
        connection,
        _INSERT,
        source=source,
        received=received,
        ids=list(once),
        kinds=[call.kind for call, _, _ in once.values()],
        names=[call.name for call, _, _ in once.values()],
        keys=[key for _, _, key in once.values()],
        ats=[at for _, at, _ in once.values()],
        datas=[as_json(call.traits or call.data) for call, _, _ in once.values()],
        contexts=[as_json(call.context) if call.context else None for call, _, _ in once.values()],
    )
    if len(stored) == len(once):
        return [(call, at) for call, at, _ in once.values()]
    new = {item["message_id"] for item in stored}
    return [(call, at) for name, (call, at, _) in once.items() if name in new]


async def _apply(
    connection: Connection,
    catalogue: Catalogue,
    fresh: list[tuple[Incoming, datetime]],
    known: dict[Identity, tuple[str, str | None]],
    locked: dict[str, Subject],
) -> None:
    """In the order of the batch: identities, profiles, entries, and what must reach runs."""
    admission = Admission(connection, catalogue.index, locked)
    await admission.load()
    for call, at in fresh:
        key = subject_of(call, known)
        subject = locked.get(key)
        if subject is None:
            continue
        subject = await _link(connection, call, known, locked) or subject
        account = _account_of(call, subject, known, locked)
        _profile(call, subject, account)
        await admission.admit(call, at, subject, account)
        if call.name in catalogue.of_tickets:
            await _note_ticket(connection, catalogue, call, at, subject, account)
    await subjects.save(connection, locked.values())
    await admission.write()


async def _link(
    connection: Connection,
    call: Incoming,
    known: dict[Identity, tuple[str, str | None]],
    locked: dict[str, Subject],
) -> Subject | None:
    """Join a visitor with the user they turn out to be; never two known users (U2)."""
    group = identities_of(call)
    if len(group) != 2:
        return None
    user, visitor = known.get(group[0]), known.get(group[1])
    if user is not None and visitor is None:
        await subjects.name(connection, [(group[1], user[0])])
        known[group[1]] = user
    elif user is None and visitor is not None:
        await subjects.name(connection, [(group[0], visitor[0])])
        known[group[0]] = user = visitor
    elif user and visitor and user[0] != visitor[0] and not await subjects.with_user_id(connection, [visitor[0]]):
        await subjects.merge(connection, locked[visitor[0]], locked[user[0]])
        known[group[1]] = user
    return locked.get(user[0]) if user else None


async def _note_ticket(
    connection: Connection,
    catalogue: Catalogue,
    call: Incoming,
    at: datetime,
    subject: Subject,
    account: Subject | None,
) -> None:
    """An urgent ticket silences what is not urgent; its end wakes what was held (C6)."""
    concerned = sorted({subject.key, *((account.key,) if account else ())})
    for person in await tickets.note_ticket(connection, catalogue.tickets, call.name, call.data, concerned, at):
        await outbox.wake(connection, person)


def _account_of(
    call: Incoming,
    subject: Subject,
    known: Mapping[Identity, tuple[str, str | None]],
    locked: Mapping[str, Subject],
) -> Subject | None:
    if subject.kind == "account":
        return subject
    if call.account_id:
        account = known["account_id", call.account_id][0]
        if call.kind == "group" and subject.account_key != account:
            subject.account_key, subject.dirty = account, True
            subject.changed.add("account")
        return locked.get(account)
    return locked.get(subject.account_key) if subject.account_key else None


def _profile(call: Incoming, subject: Subject, account: Subject | None) -> None:
    if call.kind == "identify":
        subject.merge(call.traits)
    elif call.kind == "group" and account is not None:
        account.merge(call.traits)


async def _hold(connection: Connection, held: list[Incoming], source: str, received: datetime) -> int:
    """Keep what fails the tracking plan, with its faults; the number that was not there before (Q1)."""
    once = {call.message_id: call for call in held}
    kept = await rows(
        connection,
        _QUARANTINE,
        source=source,
        received=received,
        ids=list(once),
        names=[call.name for call in once.values()],
        faults=[as_json(call.faults) for call in once.values()],
        events=[orjson.dumps(call.raw, default=str).decode() for call in once.values()],
    )
    return len(kept)
