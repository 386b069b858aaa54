"""Bounds of profiles: the fields that they may have, and their bytes.

A trait that the tracking plan does not declare stays in its event, so that nobody makes a profile grow without end; it is
filled in when a later plan declares it (`store/people/field_filling.py`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from journeys.calendar.timezones import TIMEZONE_FIELDS
from journeys.events.tracking_plan import ROLE, TrackingPlan
from journeys.fields.table import FieldOwner

MOST_BYTES: Final = 64 * 1024
PLATFORM_FIELDS: Final[Mapping[FieldOwner, frozenset[str]]] = {
    "profile": TIMEZONE_FIELDS
    | {"email", "chat_channel", "push_token", "push_subscription", "locale", "first_name", "last_name", "stage", ROLE},
    "account": frozenset({"name", "timezone", "owner_name", "owner_email"}),
}
"""Fields that Tenure itself reads, declared in every plan."""


@dataclass(frozen=True, slots=True)
class ProfileBounds:
    """Fields by owner, None for every field, and the bytes of the JSON of one profile."""

    fields: Mapping[FieldOwner, frozenset[str]] | None = None
    most_bytes: int = MOST_BYTES

    @classmethod
    def of(cls, plan: TrackingPlan, most_bytes: int = MOST_BYTES, more: Iterable[str] = ()) -> ProfileBounds:
        """The bounds by a plan; `more` are fields of people that settings name."""
        profile = PLATFORM_FIELDS["profile"].union(plan.profile, more)
        return cls({"profile": profile, "account": PLATFORM_FIELDS["account"].union(plan.account)}, most_bytes)

    def kept(self, owner: FieldOwner, traits: Mapping[str, Any], read: Collection[str]) -> dict[str, Any]:
        """The traits that change a profile: declared fields, those that journeys `read`, and whatever is forgotten."""
        if self.fields is None:
            return dict(traits)
        declared = self.fields[owner]
        return {name: value for name, value in traits.items() if value is None or name in declared or name in read}

    def is_exceeded(self, profile: Mapping[str, Any], traits: Mapping[str, Any]) -> bool:
        """Whether traits make a profile too large. One that is too large already may become smaller."""
        before = size_of(profile)
        if before + size_of(traits) <= self.most_bytes:
            return False
        after = size_of({name: value for name, value in {**profile, **traits}.items() if value is not None})
        return after > max(self.most_bytes, before)

    def fitting(self, profile: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
        """Those of more fields that a profile has room for, in the order of their names."""
        room = self.most_bytes - size_of(profile)
        fitting = {}
        for name in sorted(more):
            freed = size_of({name: profile[name]}) if name in profile else 0
            size = size_of({name: more[name]}) if more[name] is not None else 0
            if size <= max(room + freed, freed):
                fitting[name], room = more[name], room + freed - size
        return fitting

    def declared(self, owner: FieldOwner) -> frozenset[str] | None:
        """The fields that the plan and Tenure declare; None for every field."""
        return None if self.fields is None else self.fields[owner]


def size_of(fields: Mapping[str, Any]) -> int:
    """The bytes of fields as compact JSON."""
    return len(json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()) if fields else 0
