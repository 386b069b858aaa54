"""Application of stored events in the order of their instants: identities, profiles, runs, lanes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from journeys.calendar.timezones import TIMEZONE_FIELDS
from journeys.consent.statements import TRAITS
from journeys.events.inbound import InboundEvent, StoredEvent
from journeys.events.profile_bounds import ProfileBounds
from journeys.fields.origins import FieldOrigin
from journeys.fields.table import FieldOwner
from store.access.claimed_fields import addresses_given, record_claims, take_claims, without_claims
from store.database import Connection
from store.definitions.registry import DefinitionRegistry
from store.events import merges, tickets
from store.events.admission import Admission
from store.events.instants import TimedEvent
from store.events.quarantine import RefusedEvent, refused_event
from store.messages import reevaluation
from store.people import memberships, subjects
from store.people.field_changes import drop_fields, update_fields
from store.people.identities import KnownIdentities, link_identities, with_user_id
from store.people.subjects import Subject

ZONE_FIELDS = TIMEZONE_FIELDS | {"account"}
"""The fields by which a person's time zone is resolved: their own, and the account that they belong to."""


async def apply_events(
    connection: Connection,
    catalogue: DefinitionRegistry,
    stored: Sequence[StoredEvent],
    known: KnownIdentities,
    locked: Mapping[str, Subject],
) -> list[StoredEvent]:
    """Apply a batch to the locked subjects; its events, with their subjects' keys after the batch's merges."""
    # The front door has looked before the locks, and the batch itself can make a visitor a user: so it is decided here.
    users = await _known_users(connection, stored)
    await record_claims(connection, stored, users)
    admission = Admission(connection, catalogue.index, locked)
    await admission.load()
    await admission.look_back(stored)
    merged: dict[str, str] = {}
    moved: list[tuple[str, datetime]] = []
    outdated: set[int] = set()
    for item in stored:
        if merged.get(item.subject_key, item.subject_key) not in locked:
            continue
        if item.changes_identity:
            merged |= await _link(connection, admission, item, known, locked, catalogue.bounds)
        subject = locked[merged.get(item.subject_key, item.subject_key)]
        account = account_of_event(item, subject, locked)
        await admission.catch_up(subject)
        if item.event.user_id is not None:
            users.add(subject.key)
        if not _change_profile(catalogue, without_claims(item) if subject.key in users else item, subject, account):
            outdated.add(item.number)
        changes = await admission.admit(item, subject, account)
        moved += [(key, item.at) for key, fields in changes.items() if ZONE_FIELDS & fields]
        if item.event.name in catalogue.ticket_signals:
            concerned = sorted({subject.key, *((account.key,) if account else ())})
            await tickets.record_ticket(
                connection,
                catalogue.tickets,
                item.event.name,
                item.event.data,
                concerned,
                item.happened_at,
                item.at,
            )
    settled = [
        replace(item, subject_key=merged[item.subject_key]) if item.subject_key in merged else item for item in stored
    ]
    await subjects.save_subjects(connection, locked.values())
    await memberships.record_memberships(connection, [item for item in settled if item.number not in outdated])
    await reevaluation.make_due(connection, moved, reevaluation.HOURS)
    await admission.write()
    return settled


async def _known_users(connection: Connection, stored: Sequence[StoredEvent]) -> set[str]:
    """Those who have a user id already, of the people to whom the batch gives addresses without naming a user."""
    keys = {item.subject_key for item in stored if addresses_given(item)}
    return await with_user_id(connection, sorted(keys)) if keys else set()


async def _link(
    connection: Connection,
    admission: Admission,
    item: StoredEvent,
    known: KnownIdentities,
    locked: Mapping[str, Subject],
    bounds: ProfileBounds,
) -> dict[str, str]:
    """Join the identities of an event; the merge that this causes, by the key that is gone."""
    pair = await link_identities(connection, item.event, known, locked)
    if pair is None:
        if item.event.user_id is not None:
            visitor = locked[item.subject_key]
            drop_fields(visitor, await take_claims(connection, visitor.key))
        return {}
    gone, into = pair
    await merges.merge_subjects(connection, admission, gone, into, bounds, at=item.at, event_id=item.event.message_id)
    return {gone.key: into.key}


def account_of_event(item: StoredEvent, subject: Subject, locked: Mapping[str, Subject]) -> Subject | None:
    """The account of an event: its subject, the account that it names, or its subject's own."""
    if subject.kind == "account":
        return subject
    key = item.named_account or subject.account_key
    return locked.get(key) if key else None


def _change_profile(
    catalogue: DefinitionRegistry, item: StoredEvent, subject: Subject, account: Subject | None
) -> bool:
    """Apply the fields of an event to its subject or their account; what is not declared stays in the event.

    False if something newer is known of the membership that it states.
    """
    event, origin, bounds = item.event, origin_of(item), catalogue.bounds
    if event.kind == "identify":
        implied = catalogue.kept_fields("profile", event.implied)
        update_fields(subject, implied, origin._replace(is_implied=True), bounds.declared("profile"))
        traits = catalogue.kept_fields("profile", profile_traits(event))
        update_fields(subject, traits, origin, bounds.declared("profile"))
    elif event.kind == "group" and account is not None:
        is_newest = account is subject or memberships.is_newest(subject, account.key, origin)
        if account is not subject and is_newest:
            memberships.move_to_account(subject, account, origin)
        update_fields(account, catalogue.kept_fields("account", event.traits), origin, bounds.declared("account"))
        return is_newest
    elif event.name == memberships.LEFT:
        memberships.leave_account(subject, account, origin)
        return item.named_account is None or memberships.is_newest(subject, item.named_account, origin)
    return True


def origin_of(item: StoredEvent) -> FieldOrigin:
    """The origin of what an event says of its subject and their account."""
    return FieldOrigin(item.occurred_at or item.at, item.accepted_at or item.at, item.source)


def profile_traits(event: InboundEvent) -> dict[str, Any]:
    """The traits of an event that are fields, without its statements of consent."""
    return {name: value for name, value in event.traits.items() if name not in TRAITS}


def dropped_fields(catalogue: DefinitionRegistry, stored: Iterable[StoredEvent]) -> set[tuple[FieldOwner, str]]:
    """The traits of these events that are no fields here, each with the owner whose field it would be."""
    dropped = set[tuple[FieldOwner, str]]()
    for item in stored:
        traits = profile_traits(item.event) if item.event.traits else {}
        if traits:
            owner: FieldOwner = "account" if item.event.kind == "group" else "profile"
            dropped.update((owner, name) for name in traits.keys() - catalogue.kept_fields(owner, traits).keys())
    return dropped


def split_oversized(
    timed: Sequence[TimedEvent], locked: Mapping[str, Subject], catalogue: DefinitionRegistry
) -> tuple[list[TimedEvent], list[RefusedEvent]]:
    """The events of a batch whose fields their profiles have room for, and the others, for the quarantine."""
    within, refused = list[TimedEvent](), list[RefusedEvent]()
    profiles: dict[str, dict[str, Any]] = {}
    for timed_event in timed:
        item = timed_event.item
        owner: FieldOwner = "account" if item.event.kind == "group" else "profile"
        subject = locked.get((item.named_account if owner == "account" else None) or item.subject_key)
        given = item.event.traits or item.event.implied
        traits = catalogue.kept_fields(owner, {**item.event.implied, **profile_traits(item.event)}) if given else {}
        if subject is None or not traits:
            within.append(timed_event)
            continue
        profile = profiles.setdefault(subject.key, subject.profile)
        if catalogue.bounds.is_exceeded(profile, traits):
            fault = f"traits: the {owner} may have at most {catalogue.bounds.most_bytes // 1024} KB of fields"
            refused.append(refused_event(item.event, "traits", fault, catalogue.consent.rules))
            continue
        profiles[subject.key] = {name: value for name, value in {**profile, **traits}.items() if value is not None}
        within.append(timed_event)
    return within, refused
