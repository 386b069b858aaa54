"""Changes of a locked subject's fields: by statements, by a visitor's merge."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from journeys.events.profile_bounds import ProfileBounds
from journeys.fields.origins import (
    ACCOUNT_ORIGIN,
    FieldOrigin,
    FieldOrigins,
    is_newer_account,
    newer_fields,
    newer_memberships,
)
from store.people.subjects import Subject


def update_fields(
    subject: Subject, traits: Mapping[str, Any], origin: FieldOrigin, declared: Collection[str] | None
) -> None:
    """Take over the traits that are newer; null removes a field. Of fields that are not `declared` no removal is kept."""
    newer = subject.origins.newer_traits(subject.profile, traits, origin)
    subject.change(newer)
    if newer:
        subject.origins.record(dict.fromkeys(newer, origin), subject.profile, declared)
        subject.dirty = True


def drop_fields(subject: Subject, names: Collection[str]) -> None:
    """Remove fields as if they had never been given."""
    subject.change(dict.fromkeys(names))
    subject.origins.drop(names)


def merge_fields(gone: Subject, into: Subject, claimed: frozenset[str], bounds: ProfileBounds) -> None:
    """Give a visitor's account and fields to the user, where they are newer; claimed ones, and those without room, are left."""
    theirs, mine = gone.origins.by_field, into.origins.by_field
    if into.account_key != gone.account_key:
        into.changed.add("account")
        if is_newer_account(into.account_key, mine, gone.account_key, theirs):
            into.account_key, into.member_number, into.dirty = gone.account_key, gone.member_number, True
            _take_origins(into, theirs, (ACCOUNT_ORIGIN,), bounds)
    _take_origins(into, theirs, newer_memberships(mine, theirs), bounds)
    newer = newer_fields(mine, theirs, into.profile, gone.profile)
    newer = bounds.fitting(into.profile, {name: value for name, value in newer.items() if name not in claimed})
    into.change(newer)
    _take_origins(into, theirs, newer, bounds)


def _take_origins(into: Subject, origins: FieldOrigins, names: Iterable[str], bounds: ProfileBounds) -> None:
    taken = {name: origins[name] for name in names if name in origins}
    if taken:
        into.origins.record(taken, into.profile, bounds.declared("profile"))
        into.dirty = True
