"""Accepting is committing: event, profile change, entry decisions and outbox rows in one transaction (design §5).

Only events that can change a next action cost more than their place in one batched insert: the index says which. For
those the subjects are locked in key order, which makes the rest of this file sequential per person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from journeys.calendar.timezones import TIMEZONE_FIELDS
from journeys.consent.statements import TRAITS
from journeys.events.segment import InboundEvent, accepted_at
from journeys.protocol.wire import SOURCE_SELF
from store.consent import from_events
from store.database import Connection, Database, as_json, execute, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.errors import Contended
from store.events import merges, tickets
from store.events.admission import Admission
from store.events.reactions import reaction
from store.exports import feed
from store.inbox import checklists
from store.messages import reevaluation
from store.people import memberships, subjects
from store.people.identities import KnownIdentities, identify, identities_of, is_joined, link_identities, subject_of
from store.people.subjects import Subject
from store.people.test_clocks import read_clock
from store.retry import retry_transaction
from store.tasks import conversations

COMPLETED = "checklist_completed"
CLOCK = TIMEZONE_FIELDS | {"account"}
"""What changes the clock on a person's wall: their own fields, or whose people they are."""

_INSERT = sql(
    """
    INSERT INTO events (source, message_id, kind, name, subject_key, at, received_at, data, context)
    SELECT :source, message_id, kind, name, subject_key, at, :received, data, context
    FROM unnest(CAST(:ids AS text[]), CAST(:kinds AS text[]), CAST(:names AS text[]), CAST(:keys AS text[]),
                CAST(:ats AS timestamptz[]), CAST(:datas AS jsonb[]), CAST(:contexts AS jsonb[]))
      AS w(message_id, kind, name, subject_key, at, data, context)
    ON CONFLICT (source, message_id) DO NOTHING RETURNING message_id, id
    """
)
_TRACED = sql(
    """
    UPDATE events e SET trace = w.trace FROM unnest(CAST(:ids AS bigint[]), CAST(:traces AS uuid[])) AS w(id, trace)
    WHERE e.id = w.id
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
class IngestResult:
    """What became of a batch: every call is in exactly one of the three."""

    accepted: int = 0
    duplicates: int = 0
    quarantined: int = 0


async def accept(
    database: Database,
    catalogue: DefinitionRegistry,
    calls: list[InboundEvent],
    *,
    source: str,
    clock: str | None = None,
) -> IngestResult:
    """Commit a batch. Raises only what the database raises; then nothing of it was accepted."""
    return await retry_transaction(database, lambda connection: _accept(connection, catalogue, calls, source, clock))


async def accept_within(
    connection: Connection, catalogue: DefinitionRegistry, calls: list[InboundEvent], *, source: str
) -> IngestResult:
    """Accept in the caller's own transaction, which has locked those concerned. Raises Contended: then all of it again."""
    return await _accept(connection, catalogue, calls, source, None)


async def _accept(
    connection: Connection, catalogue: DefinitionRegistry, calls: list[InboundEvent], source: str, clock: str | None
) -> IngestResult:
    received = datetime.now(UTC)
    await catalogue.current(connection)
    held = [call for call in calls if call.faults]
    quarantined = await _hold(connection, held, source, received) if held else 0
    whole = [call for call in calls if not call.faults]
    if not whole:
        return IngestResult(0, len(held) - quarantined, quarantined)
    known = await identify(connection, whole, clock)
    concerned = _to_lock(catalogue, whole, known)
    everybody = await subjects.lock_subjects(
        connection,
        concerned
        | await from_events.lanes_to_lock(connection, catalogue.consent, whole, known)
        | await reevaluation.members_to_lock(connection, catalogue, whole, known),
    )
    locked = {key: subject for key, subject in everybody.items() if key in concerned}
    if any(subject.account_key and subject.account_key not in locked for subject in locked.values()):
        raise Contended  # someone moved to another account between our look and our lock
    fresh = await _insert(connection, whole, known, locked, source, received)
    if fresh:
        await _apply(connection, catalogue, fresh, known, locked, source)
        await _tick(connection, catalogue, fresh, known)
        await conversations.open_from_replies(connection, catalogue, fresh, known)
        # Addresses are locked last, as the gate does.
        await from_events.apply_consent_events(connection, catalogue, fresh, known, source)
    duplicates = len(calls) - len(fresh) - quarantined
    return IngestResult(len(fresh), duplicates, quarantined)


def _to_lock(catalogue: DefinitionRegistry, calls: list[InboundEvent], known: KnownIdentities) -> set[str]:
    keys: set[str] = set()
    for call in calls:
        changing = (
            call.kind in {"identify", "group", "alias"} or call.name == memberships.LEFT or not is_joined(call, known)
        )
        if not changing and not catalogue.matters(call.name):
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
    calls: list[InboundEvent],
    known: KnownIdentities,
    locked: Mapping[str, Subject],
    source: str,
    received: datetime,
) -> list[tuple[InboundEvent, datetime]]:
    """Store the batch in one statement; the calls that were not there before, each with its instant."""
    clocks = {
        name: clock.virtual(received)
        for name in sorted({s.clock for s in locked.values() if s.clock})
        if (clock := await read_clock(connection, name)) is not None
    }
    lanes = _lanes(calls, known, locked)
    once: dict[str, tuple[InboundEvent, datetime, str]] = {}
    for call in calls:
        key = subject_of(call, known)
        subject = locked.get(key)
        virtual = clocks.get(subject.clock) if subject is not None and subject.clock else None
        decided = [locked[lane].decided_at for lane in lanes.get(key, ())]
        floor = max((until for until in decided if until is not None), default=None)
        at = accepted_at(call, virtual or received, virtual=virtual is not None, floor=floor)
        once.setdefault(call.message_id, (call, at, key))
    stored = await fetch_all(
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
    fresh = []
    numbers = {item["message_id"]: item["id"] for item in stored}
    for name, (call, at, _) in once.items():
        if (number := numbers.get(name)) is not None:
            call.number = number
            fresh.append((call, at))
    await _keep_traces(connection, [call for call, _ in fresh if call.trace is not None])
    await feed.record_reaction(connection, [call.number for call, _ in fresh if feed.is_reaction(call.name, call.data)])
    return fresh


async def _keep_traces(connection: Connection, given: list[InboundEvent]) -> None:
    """Only what was given is kept: an event's own trace is made of what is stored anyway."""
    if given:
        await execute(connection, _TRACED, ids=[call.number for call in given], traces=[call.trace for call in given])


def _lanes(calls: list[InboundEvent], known: KnownIdentities, locked: Mapping[str, Subject]) -> dict[str, set[str]]:
    """By subject, the locked lanes that its events of this batch may enter: its own, its accounts', those it joins."""
    lanes: dict[str, set[str]] = {}
    for call in calls:
        concerned = [known[identity][0] for identity in identities_of(call) if identity in known]
        people = [key for key in concerned if key in locked]
        if not people:
            continue
        entered = {*people, *(account for key in people if (account := locked[key].account_key))}
        if call.account_id:
            entered.add(known["account_id", call.account_id][0])
        for key in people:
            lanes.setdefault(key, set()).update(entered & locked.keys())
    return lanes


async def _apply(
    connection: Connection,
    catalogue: DefinitionRegistry,
    fresh: list[tuple[InboundEvent, datetime]],
    known: KnownIdentities,
    locked: dict[str, Subject],
    source: str,
) -> None:
    """In the order of the batch: identities, profiles, entries, and what must reach runs."""
    admission = Admission(connection, catalogue.index, locked, source)
    await admission.load()
    moved: list[tuple[str, datetime]] = []
    for call, at in fresh:
        key = subject_of(call, known)
        if key not in locked:
            continue
        found = await link_identities(connection, call, known, locked)
        if found is not None:
            await merges.merge_subjects(connection, admission, *found, at=at, event_id=call.message_id)
        subject = locked[subject_of(call, known)]
        account = _account_of(call, subject, known, locked)
        _profile(call, subject, account)
        moved += [(each.key, at) for each in (subject, account) if each is not None and CLOCK & each.changed]
        await admission.admit(call, at, subject, account)
        if call.name in catalogue.of_tickets:
            concerned = sorted({subject.key, *((account.key,) if account else ())})
            await tickets.record_ticket(connection, catalogue.tickets, call.name, call.data, concerned, at)
    await subjects.save_subjects(connection, locked.values())
    await memberships.record_memberships(connection, [call for call, _ in fresh], known)
    await reevaluation.make_due(connection, moved, reevaluation.HOURS)
    await admission.write()


async def _tick(
    connection: Connection,
    catalogue: DefinitionRegistry,
    fresh: list[tuple[InboundEvent, datetime]],
    known: KnownIdentities,
) -> None:
    """Items of checklists that waited for these signals are ticked; a list whose last one was is told of."""
    told = [(subject_of(call, known), call.name, at) for call, at in fresh if call.name in catalogue.awaited]
    complete = [each for each in await checklists.tick_checklists(connection, told) if each["complete"]]
    calls = [
        await reaction(
            connection, COMPLETED, each["inbox_key"], each["recipient"], once=f"{each['inbox_key']}=complete"
        )
        for each in complete
    ]
    if calls:
        await _accept(connection, catalogue, calls, SOURCE_SELF, None)


def _account_of(
    call: InboundEvent,
    subject: Subject,
    known: KnownIdentities,
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


def _profile(call: InboundEvent, subject: Subject, account: Subject | None) -> None:
    if call.kind == "identify":
        subject.merge({name: value for name, value in call.traits.items() if name not in TRAITS})
    elif call.kind == "group" and account is not None:
        account.merge(call.traits)
    elif call.name == memberships.LEFT:
        memberships.leave_account(subject, account)


async def _hold(connection: Connection, held: list[InboundEvent], source: str, received: datetime) -> int:
    """Keep what fails the tracking plan, with its faults; the number that was not there before (Q1)."""
    once = {call.message_id: call for call in held}
    kept = await fetch_all(
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
